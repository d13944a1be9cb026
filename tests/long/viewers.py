"""Takes pictures of every kind of object in every viewer, and of the node's own pages, for people
to look at; says where the README's table "who shows what" is no longer true of OHIF.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz
    PYTHONPATH=. python tests/long/viewers.py --ohif package/dist --out build/viewers [STUDY ...]

STUDY is a name of tests/support/viewer_studies.py; all of them without one. `--usual` makes what
goes to a PACS that asks for nothing else. `--in` names viewers; without it all of `page` (the
node's pages and their print, summary, capture), `dmv` (dicom-microscopy-viewer) and, with `--ohif`,
the modes `microscopy` and `viewer` of OHIF from Orthanc. 2 to 5 minutes a study on two cores.

Ends with 1 where OHIF did not open, or showed something else than `EXPECTED` of
tests/support/viewer/ohif.py: then a newer OHIF is better, or worse, than the README says.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "support")]

from browser import chromium
from form_inputs import ALL_KINDS
from nodes import Orthanc, free_port, orthanc
from viewer import layers, ohif, own_pages
from viewer.installed import SUPPORT, installed
from viewer.one_origin import one_origin
from viewer_studies import NAMES, SeenStudy, seen_study

from dicom_node.demo.wsm import write_slide
from inference.phantom.draw import MPP, draw
from slides import SlideStudy

VIEWERS = ("page", "dmv", *ohif.MODES)


def main() -> int:
    """0 when every study was opened everywhere, and OHIF shows what the README says."""
    asked = _asked()
    shutil.rmtree(asked.out, ignore_errors=True)
    slide, trouble = _drawn(asked.out / "slide"), []
    modules = installed()
    modes = [one for one in asked.viewers if one in ohif.MODES]
    with chromium(asked.out / "chromium") as browser:
        for name in asked.studies or NAMES:
            folder = asked.out / name.replace(" ", "-")
            wanted = frozenset[str]() if asked.usual else ALL_KINDS
            study = seen_study(name, slide, folder / "study", wanted)
            if "page" in asked.viewers:
                _report(name, "page", len(own_pages.take(browser, study, folder)))
            if "dmv" in asked.viewers:
                trouble += _in_dmv(modules, study, folder)
            if modes:
                trouble += _in_ohif(modules, asked.ohif, modes, study, folder)
    print(*trouble, sep="\n", flush=True)
    return 1 if trouble else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ohif", type=Path, help="the folder dist of @ohif/app")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--in", dest="viewers", choices=VIEWERS, action="append")
    parser.add_argument("--usual", action="store_true", help="no kind that has to be asked for")
    parser.add_argument("studies", nargs="*", metavar="STUDY")
    asked = parser.parse_args()
    if unknown := set(asked.studies) - set(NAMES):
        parser.error(f"studies {sorted(unknown)}: there are {', '.join(NAMES)}")
    if asked.ohif is None and set(asked.viewers or ()) & set(ohif.MODES):
        parser.error("the modes of OHIF need --ohif DIST")
    asked.viewers = asked.viewers or [v for v in VIEWERS if asked.ohif or v not in ohif.MODES]
    return asked


def _drawn(folder: Path) -> SlideStudy:
    phantom = draw(3, rows=2048, cols=3072)
    write_slide(phantom.pixels, folder, mpp=MPP, levels=3, seed="seen: phantom")
    return SlideStudy(folder)


def _in_dmv(modules: Path, study: SeenStudy, folder: Path) -> list[str]:
    answer = layers.take(modules, [study], None, folder / "dmv")
    (folder / "dmv.json").write_text(json.dumps(answer, indent=1, ensure_ascii=False))
    _report(study.name, "dmv", len(answer["names"]))
    return [f"{study.name}, dmv: {error}" for error in answer["errors"]]


def _in_ohif(
    modules: Path, dist: Path, modes: list[str], study: SeenStudy, folder: Path
) -> list[str]:
    trouble = []
    with orthanc(folder / "pacs", free_port()) as pacs:
        _store(pacs, study)
        address = f"http://127.0.0.1:{pacs.http_port}"
        with one_origin(dist, SUPPORT / "ohif-config.js", address) as origin:
            for mode in modes:
                seen = ohif.look(modules, origin, mode, study, folder)
                if isinstance(seen, str):
                    trouble.append(f"{study.name}, {mode}: OHIF did not open: {seen}")
                    continue
                (folder / f"{mode}-seen.json").write_text(
                    json.dumps([asdict(one) for one in seen], indent=1)
                )
                _report(study.name, mode, len(seen))
                trouble += [f"{study.name}, {one}" for one in ohif.differences(mode, seen)]
    shutil.rmtree(folder / "pacs")
    return trouble


def _store(pacs: Orthanc, study: SeenStudy) -> None:
    for path in study.files:
        address = f"http://127.0.0.1:{pacs.http_port}/instances"
        request = urllib.request.Request(address, data=path.read_bytes(), method="POST")
        urllib.request.urlopen(request, timeout=60).close()


def _report(study: str, viewer: str, count: int) -> None:
    print(f"{study}, {viewer}: {count} seen", flush=True)


if __name__ == "__main__":
    sys.exit(main())
