"""The bar of results: SR, SEG and PDF of a slide of ten thousand tiles, made and written.

python tests/bench/objects.py [--rounds 12] [--profile]

The slide is read once; the objects are made again and again from what was read, as a worker makes
them: the first of a process beside those that follow. In CPU seconds, and by the clock.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table
from stages import TEN_THOUSAND

_FORMS = {"SR and SEG": frozenset[str](), "SR, SEG and PDF": frozenset({"summary"})}


def making_of(paths: tuple[Path, ...]) -> Any:
    """What the objects of a slide are made from: the slide is analyzed with the default bundle."""
    from pydicom import dcmread

    from dicom_node.results.identity import Provenance
    from dicom_node.results.making import Making
    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference import predict
    from inference.slide.files import SlideFiles

    bundle = open_bundle("default")
    with open_runtime(bundle) as runtime:
        result = predict.predict(paths, runtime)
        engine = runtime.engine
    manifest = bundle.manifest
    provenance = Provenance(
        manifest.name, manifest.version, bundle.digest, engine, "bench", datetime.now(UTC)
    )
    uids = tuple(str(dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in paths)
    slide = SlideFiles("a", paths, uids, paths[0])
    source = dcmread(paths[0], stop_before_pixels=True)
    return Making(source, result, manifest, provenance, slide, number=0)


def round_of(making: Any, wanted: frozenset[str], out: Path) -> tuple[float, float]:
    """CPU seconds and seconds of one making."""
    from dataclasses import replace

    from dicom_node.results.build import build_objects
    from dicom_node.results.files import write_built

    began, worked = perf_counter(), process_time()
    for item in build_objects(replace(making, wanted=wanted)):
        write_built(item, out / f"{item.kind}.dcm")
    return process_time() - worked, perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Result objects of a large slide.")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    asked = parser.parse_args()
    from dicom_node.results.build import load_builders

    console = Console(width=120)
    console.print(machine())
    with tempfile.TemporaryDirectory() as folder:
        making = making_of(write(Path(folder), TEN_THOUSAND, tissue=0.5).paths)
        title = f"{making.manifest.title} {making.manifest.version}"
        console.print(f"{title}, {making.result.tiles_analyzed} tiles")
        load_builders()
        table = Table("what", "first of the process, CPU s", "then, CPU s", "then, s")
        for what, wanted in _FORMS.items():
            first, *then = [round_of(making, wanted, Path(folder)) for _ in range(asked.rounds + 1)]
            table.add_row(what, f"{first[0]:.3f}", spread([cpu for cpu, _ in then], 3),
                          spread([s for _, s in then], 3))  # fmt: skip
        console.print(table)
        if asked.profile:
            profile = cProfile.Profile()
            profile.runcall(round_of, making, _FORMS["SR, SEG and PDF"], Path(folder))
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
