"""Pictures of dicom-microscopy-viewer: a slide, and each object that can be laid over it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from viewer.dicomweb import serve
from viewer.installed import SUPPORT, pages
from viewer_studies import SeenStudy

from dicom_node.results import kinds

_HOW = {
    kinds.HEATMAP: "segments",
    kinds.REGION: "segments",
    kinds.ATTENTION: "segments",
    kinds.LEVEL: "segments",
    kinds.REPORT: "report",
    kinds.ANNOTATIONS: "annotations",
    kinds.MAP: "map",
}
"""Of the functions of viewer.html."""


def how(kind: str) -> str | None:
    """How the viewer shows an object of this kind over its slide; None where it cannot."""
    if kind.startswith("foreign"):
        return "segments"
    known = kinds.kind_of(kind)
    return _HOW.get(known) if known else None


def take(
    modules: Path, studies: Sequence[SeenStudy], only: dict[str, Sequence[str]] | None, folder: Path
) -> dict[str, Any]:
    """Writes STUDY.png, STUDY-KIND.png and, of an overlay, STUDY-overlay.png, with `-a`, `-b` after
    the name of a study of several slides; returns what each layer is called there (`names`) and
    what went wrong (`errors`, `said`). `only` has the kinds by study; None for all."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [path for study in studies for path in study.files]
    with serve(files, pages(modules)) as address:
        jobs = [
            job
            for study in studies
            for job in _jobs(study, address, None if only is None else only[study.name])
        ]
        done = subprocess.run(
            ["node", SUPPORT / "kinds.js", modules, _chromium(), folder, json.dumps(jobs)],
            capture_output=True,
            text=True,
            timeout=540,
            env={**os.environ, "HOME": str(files[0].parent)},
        )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _jobs(
    study: SeenStudy, address: str, only: Sequence[str] | None
) -> Iterator[dict[str, object]]:
    for slide_name, slide in study.slides.items():
        made = study.objects[slide_name]
        name = study.name if len(study.slides) == 1 else f"{study.name}-{slide_name}"
        wanted = [k for k in made if how(k)] if only is None else only
        layers = [{"how": how(k), "name": k, "series": _series(made[k])} for k in wanted]
        page = f"{address}/viewer.html?study={study.uid}&slide="
        yield {"address": page + _series(slide.base_path), "name": name, "layers": layers}
        if kinds.OVERLAY.name in made:  # a slide of its own
            overlay = page + _series(made[kinds.OVERLAY.name])
            yield {"address": overlay, "name": f"{name}-{kinds.OVERLAY.name}", "layers": []}


def _series(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID)


def _chromium() -> str:
    return shutil.which("chromium") or ""
