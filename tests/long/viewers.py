"""Takes pictures of what OHIF shows of every kind of object; people look at them.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    PYTHONPATH=. python tests/long/viewers.py --ohif package/dist --out build/viewers [STUDY ...]

STUDY is a name of tests/support/viewer_studies.py; all of them without one. `--usual` makes what
goes to a PACS that asks for nothing else. One picture for each series, opened by a double click, in
the mode for microscopy and in the usual one, and one JSON file of what the page said. 2 to 4
minutes a study and mode on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "support")]

from form_inputs import ALL_KINDS
from nodes import Orthanc, free_port, orthanc
from viewer.installed import SUPPORT, installed
from viewer.one_origin import one_origin
from viewer_studies import NAMES, SeenStudy, seen_study

from dicom_node.demo.wsm import write_slide
from inference.phantom.draw import MPP, draw
from slides import SlideStudy

MODES = ("microscopy", "viewer")


def main() -> int:
    """0 when every study was opened in every mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ohif", type=Path, required=True, help="the folder dist of @ohif/app")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--usual", action="store_true", help="no kind that has to be asked for")
    parser.add_argument("studies", nargs="*", metavar="STUDY")
    asked = parser.parse_args()
    if unknown := set(asked.studies) - set(NAMES):
        parser.error(f"studies {sorted(unknown)}: there are {', '.join(NAMES)}")
    shutil.rmtree(asked.out, ignore_errors=True)
    slide, failed = _drawn(asked.out / "slide"), 0
    modules = installed()
    for name in asked.studies or NAMES:
        folder = asked.out / name.replace(" ", "-")
        wanted = frozenset[str]() if asked.usual else ALL_KINDS
        study = seen_study(name, slide, folder / "study", wanted)
        with orthanc(folder / "pacs", free_port()) as pacs:
            _store(pacs, study)
            address = f"http://127.0.0.1:{pacs.http_port}"
            with one_origin(asked.ohif, SUPPORT / "ohif-config.js", address) as origin:
                for mode in asked.mode or MODES:
                    failed += not _seen(modules, origin, mode, study, folder)
        shutil.rmtree(folder / "pacs")
    return 1 if failed else 0


def _drawn(folder: Path) -> SlideStudy:
    phantom = draw(3, rows=2048, cols=3072)
    write_slide(phantom.pixels, folder, mpp=MPP, levels=3, seed="seen: phantom")
    return SlideStudy(folder)


def _store(pacs: Orthanc, study: SeenStudy) -> None:
    for path in study.files:
        address = f"http://127.0.0.1:{pacs.http_port}/instances"
        request = urllib.request.Request(address, data=path.read_bytes(), method="POST")
        urllib.request.urlopen(request, timeout=60).close()


def _seen(modules: Path, origin: str, mode: str, study: SeenStudy, folder: Path) -> bool:
    chromium = shutil.which("chromium") or ""
    done = subprocess.run(
        ["node", SUPPORT / "ohif.js", modules, chromium, origin, mode, study.uid, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(folder)},
    )
    (folder / f"{mode}.json").write_text(done.stdout)
    print(f"{study.name}, {mode}: {'seen' if done.returncode == 0 else done.stderr}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
