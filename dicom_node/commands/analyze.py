"""`dicom-node analyze PATH... --out DIR`: the main job from files, without a network."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dicom_node import __version__
from dicom_node.analysis import SlideFiles, build_objects, slides_to_analyze
from dicom_node.facts import Uncountable, read_facts
from dicom_node.observe.log import configure
from dicom_node.results.files import write
from dicom_node.results.identity import Provenance
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.study import PatientsDiffer, gather_evidence
from dicom_node.view.page import write_page
from dicom_node.view.table import print_report, report_as_json
from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.errors import SlideUnreadable
from inference.types import Progress

REFUSED = 3


class _Unusable(Exception):
    """Input that cannot be analyzed; the message is for the person who gave it."""


def run(arguments: argparse.Namespace) -> int:
    """Analyze every study found; 1 when a study could not be, 3 when the bundle is refused."""
    configure("console", "warning")
    console = Console(stderr=arguments.json, soft_wrap=True)
    try:
        bundle = open_bundle(arguments.bundle)
        with open_runtime(
            bundle,
            engine=arguments.engine,
            precision=arguments.precision,
            threads=arguments.threads,
        ) as runtime:
            console.print(f"{bundle.manifest.title} on {runtime.engine}")
            if runtime.note:
                console.print(runtime.note)
            reports = list(_analyze_all(arguments.paths, arguments.out, runtime, console))
    except (BundleRejected, EngineMissing) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except SlideUnreadable as error:
        which = f"{error.path}: " if error.path else ""
        sys.stderr.write(f"dicom-node: {which}{error}\n")
        return 1
    except (_Unusable, Uncountable, PatientsDiffer, DeviceFailed) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return 1
    if arguments.json:
        sys.stdout.write(json.dumps(reports, indent=2) + "\n")
    return 0


def _analyze_all(
    paths: Sequence[Path], out: Path, runtime: Runtime, console: Console
) -> Iterator[dict[str, Any]]:
    for number, (study, files) in enumerate(sorted(_studies(paths, console).items()), start=1):
        slides = gather_evidence(read_facts(path) for path in files.values())
        missing = [sentence for slide in slides for sentence in slide.missing]
        if missing:
            raise _Unusable(f"study {study} is incomplete: {'; '.join(missing)}")
        for slide in slides_to_analyze(slides, files):
            folder = out / f"study-{number}-slide-{slide.key}"
            yield _analyze_one(slide, folder, runtime, console)


def _studies(paths: Sequence[Path], console: Console) -> dict[str, dict[str, Path]]:
    """Whole-slide files by Study and SOP Instance UID; what is skipped is said."""
    studies: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(p for given in paths for p in _files(given)):
        try:
            header = dcmread(
                path,
                stop_before_pixels=True,
                specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"],
            )
        except InvalidDicomError:
            console.print(f"skipped {path}: not a DICOM file")
            continue
        if header.get("SOPClassUID") != VL_WHOLE_SLIDE_MICROSCOPY.uid:
            console.print(f"skipped {path}: not a whole-slide image")
            continue
        studies[header.StudyInstanceUID][header.SOPInstanceUID] = path
    if not studies:
        names = ", ".join(map(str, paths))
        raise _Unusable(f"no DICOM whole-slide image found in {names}")
    return studies


def _files(given: Path) -> list[Path]:
    if not given.exists():
        raise _Unusable(f"{given}: no such file or folder")
    return [p for p in given.rglob("*") if p.is_file()] if given.is_dir() else [given]


def _analyze_one(
    slide: SlideFiles, folder: Path, runtime: Runtime, console: Console
) -> dict[str, Any]:
    with _bar(console) as bar:
        task = bar.add_task("tiles", total=None, rate="")
        result = predict.predict(slide.paths, runtime, progress=_show(bar, task))
    bundle = runtime.bundle
    provenance = Provenance(
        bundle_name=bundle.manifest.name,
        bundle_version=bundle.manifest.version,
        bundle_digest=bundle.digest,
        engine=runtime.engine,
        node_version=__version__,
        created_at=datetime.now().astimezone(),
    )
    built = build_objects(
        dcmread(slide.base_path, stop_before_pixels=True),
        result,
        bundle.manifest,
        provenance,
        slide=slide,
        number=0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = {item.kind: folder / f"{item.kind}.dcm" for item in built}
    for item in built:
        write(item.dataset, written[item.kind])
    heatmaps = [path for kind, path in written.items() if kind != "report"]
    page = write_page(
        folder / "report.html",
        slide_paths=slide.paths,
        seg_path=heatmaps[0] if heatmaps else None,
        sr_path=written["report"],
    )
    report = built[-1].dataset
    print_report(console, report)
    console.print(f"Page    {page}\nObjects {folder}\n")
    return {
        "page": str(page),
        "objects": {kind: str(path) for kind, path in written.items()},
        "report": report_as_json(report),
    }


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _show(bar: Bar, task: TaskID) -> Any:
    def show(progress: Progress) -> None:
        bar.update(
            task,
            completed=progress.tiles_done,
            total=progress.tiles_total,
            rate=f"{progress.tiles_per_s:.0f} tiles/s",
        )

    return show
