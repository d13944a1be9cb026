"""Slides after public bug reports, by `analyze` and by `serve`: the right outcome of each.

Where a slide may be placed rightly or refused, both are right; nothing else is.
"""

from __future__ import annotations

import re
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from nodes import (
    ROOT,
    WSM_SYNTAXES,
    WSM_SYNTAXES_OF_JPEG_2000,
    dicom_node,
    need,
    node,
    storescp,
    storescu,
    study_of,
)
from outcomes import (
    Judge,
    Mask,
    Seen,
    only_where,
    refused,
    slides_placed,
    stopped,
    unfit_texts,
)
from pydicom import dcmread
from pydicom.uid import JPEG2000
from scoring import scoring_student
from validators import dciodvfy_errors

from dicom_node.ledger.states import State

CASES = ROOT.parent / "shared" / "cases" / "wsm"
_STROKES = ((150, 200, 1250, 620), (150, 200, 480, 1500), (650, 200, 900, 1000))
_SIZE = 1344, 1792


def letter(rows: float = 1.0, cols: float = 1.0, shift: tuple[int, int] = (0, 0)) -> Mask:
    """The F of these slides, scaled and moved."""
    mask = np.zeros(_SIZE, np.bool_)
    for top, left, bottom, right in _STROKES:
        y0, y1 = (max(0, round(y * rows) + shift[0]) for y in (top, bottom))
        x0, x1 = (max(0, round(x * cols) + shift[1]) for x in (left, right))
        mask[y0:y1, x0:x1] = True
    return mask


def without_first(px: int) -> Mask:
    """The F where rows and columns before `px` are not in the data."""
    mask = letter()
    mask[:px] = False
    mask[:, :px] = False
    return mask


F = letter()
MOVED = letter(shift=(-200, -300))
SMALLER = letter(1120 / 1344, 1568 / 1792)
BASE, OF_MOVED, OF_SMALLER = 2.01, 1.90, 1.80
"""Scores of these slides, each alone; engines and precisions differ in the second digit."""


def right(says: str = "", *, within: float = 0.1) -> Judge:
    """The slide in its place with the number of the untouched one."""
    return slides_placed(F, says=says, scores=[BASE], within=within)


def in_the_data() -> Mask:
    """Where the base level has data, or there is no tissue to have any of."""
    header = dcmread(CASES / "sparse_missing_tissue" / "l0.dcm", stop_before_pixels=True)
    present = ~F
    for groups in header.PerFrameFunctionalGroupsSequence:
        place = groups.PlanePositionSlideSequence[0]
        top = place.RowPositionInTotalImagePixelMatrix - 1
        left = place.ColumnPositionInTotalImagePixelMatrix - 1
        present[top : top + header.Rows, left : left + header.Columns] = True
    return present


MISPLACED = refused(r"\(\d+, \d+\)", r"(?i)position")
"""Refused, with a position that was found."""
OUTCOMES: dict[str, tuple[Judge, ...]] = {
    "base": (right(),),
    "sparse_offgrid_allnative": (slides_placed(without_first(255)), MISPLACED),
    "sparse_dup_frames": (MISPLACED,),
    "sparse_missing_tissue": (
        only_where(in_the_data, slides_placed(F, says=r"\d+ of \d+ (tissue )?tiles")),
        refused(r"(?i)not in the (data|files)|missing|absent"),
    ),
    "z_varies_um_two": (right(), refused(r"(?i)focus|focal|plane")),
    "full_but_colmajor_with_pffg": (right(r"(?i)position"), MISPLACED),
    "two_pyramids_same_place_mixed_levels": (
        slides_placed(F, says=r"(?i)scan|pyramid", scores=[BASE], within=0.08),
        slides_placed(MOVED, says=r"(?i)scan|pyramid", scores=[OF_MOVED], within=0.08),
        refused(r"(?i)scan|pyramid"),
    ),
    # Coded from the picture without the JPEG noise of the untouched slide; wrong colors give 0.5 or
    # -0.6.
    "j2k_mct_says_full": (
        right(r"(?i)codestream|stream|JPEG 2000", within=0.45),
        refused(r"(?i)codestream|stream|JPEG 2000"),
    ),
    "j2k_nomct_says_422": (right(within=0.45),),
    "jpeg_hole_zeros": (refused(r"Frame \d+", "frames unreadable"),),
    "orient_zero": (refused(r"(?i)orientation", "Position on slide"),),
    "black_background": (right(), right(r"(?i)black|not scanned|unscanned", within=0.5)),
    "spacing_missing_ivw": (right(r"(?i)computed|derived"),),
    "z_instances_fp3": (right(r"(?i)focal planes"),),
    "container_trailing_case": (right(),),
    "label_truncated": (right(r"(?i)label"),),
    "patient_mismatch_levels": (stopped(r"PatientID"),),
    "series_uid_missing": (stopped(r"(?i)series ?instance ?uid|a[01]\.dcm|0x[0-9a-f]{3,4}"),),
    "two_slides_one_series_no_container_diffsize": (
        slides_placed(F, SMALLER, scores=[BASE, OF_SMALLER]),
    ),
    "dup_uid_diff_content": (stopped(r"one SOP Instance UID"),),
    "un_vr_sequences": (right(),),
    "zero_length_frames": (refused(r"(?i)frame", "frames unreadable"),),
    "spacing_perframe_only": (right(), refused(r"(?i)per.frame|each frame")),
    "specimen_many_long": (right(),),
    "flavor_imagetype_missing": (refused(r"Image ?Type", "No volume image"),),
}
OVER_THE_NETWORK: dict[str, tuple[Judge, ...]] = {
    # The second content is answered 0111; what came first is a slide of one level, either one.
    "dup_uid_diff_content": (right(r"0x0?111"), refused(r"(?i)um per pixel")),
}
"""Where the node has other right answers than the command."""


@pytest.fixture(scope="session")
def cases() -> Path:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases/wsm (slides after bug reports), which is not here")
    return CASES


@pytest.fixture(scope="session")
def analyzed(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """What one `analyze` of all cases makes of each: none may cost another its turn."""
    out = tmp_path_factory.mktemp("analyzed")
    folders = [str(cases / name) for name in OUTCOMES]
    bundle = scoring_student(tmp_path_factory.mktemp("student") / "scoring")
    done = dicom_node("analyze", *folders, "--bundle", str(bundle), "--out", str(out), "--json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return _by_case(cases, out, done.stderr + done.stdout)


@pytest.fixture(scope="session")
def served(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """What one node makes of all cases, sent one after the other and analyzed as they close."""
    need("storescu", "storescp")
    folder = tmp_path_factory.mktemp("served")
    bundle = scoring_student(folder / "scoring")
    more = f'incomplete_after_s = 6\n[model]\nbundle = "{bundle}"'
    with (
        storescp(folder / "pacs") as pacs,
        node(folder / "node", pacs.port, extra=more) as n,
    ):
        n.start()
        sent = {name: _send(n.port, _files(cases, name)) for name in OUTCOMES}
        troubles = []
        for name in OUTCOMES:
            study = study_of(cases / name)
            if n.ledger.queries.revision(study) is None:  # nothing of it was taken
                troubles.append(f"study {study}: {sent[name].stderr}")
                continue
            revision = n.finished(study, within_s=240)
            said = revision.reason if revision.state is State.PARKED else ""
            troubles.append(f"study {study}: {said} {sent[name].stderr}".replace("\n", " "))
        assert n.processes[0].poll() is None, n.log
        assert "Traceback" not in n.log
        assert "child_died" not in n.log
        told = "\n".join([*troubles, n.log])
        return _by_case(cases, folder / "pacs", told, pattern="*")


@pytest.mark.parametrize("name", OUTCOMES)
def test_analyze_gives_the_right_outcome(name: str, analyzed: dict[str, Seen]) -> None:
    _judge(analyzed[name], OUTCOMES[name])


@pytest.mark.parametrize("name", OUTCOMES)
def test_serve_gives_the_right_outcome(name: str, served: dict[str, Seen]) -> None:
    _judge(served[name], OVER_THE_NETWORK.get(name, OUTCOMES[name]))


@pytest.mark.parametrize("way", ["analyzed", "served"])
def test_no_object_holds_a_path_or_a_list_as_python_prints_it(
    way: str, request: pytest.FixtureRequest
) -> None:
    seen: dict[str, Seen] = request.getfixturevalue(way)
    assert [text for one in seen.values() for text in unfit_texts(one.objects)] == []


def test_a_derived_spacing_gives_valid_objects(analyzed: dict[str, Seen], tmp_path: Path) -> None:
    objects = analyzed["spacing_missing_ivw"].objects
    assert len(objects) == 2
    for n, made in enumerate(objects):
        made.save_as(tmp_path / f"{n}.dcm")
        assert dciodvfy_errors(tmp_path / f"{n}.dcm") == []


def test_every_folder_has_its_right_outcome(cases: Path) -> None:
    assert {path.name for path in cases.iterdir() if path.is_dir()} == set(OUTCOMES)


def _judge(seen: Seen, outcomes: tuple[Judge, ...]) -> None:
    faults = [outcome(seen) for outcome in outcomes]
    assert not all(faults), "\n  or: ".join("; ".join(found) for found in faults)


def _files(cases: Path, name: str) -> list[Path]:
    return sorted((cases / name).glob("*.dcm"))


def _send(port: int, files: list[Path]) -> CompletedProcess[str]:
    syntax = dcmread(files[0], stop_before_pixels=True).file_meta.TransferSyntaxUID
    proposed = WSM_SYNTAXES_OF_JPEG_2000 if syntax == JPEG2000 else WSM_SYNTAXES
    return storescu(port, *files, syntaxes=proposed)


def _by_case(cases: Path, folder: Path, told: str, pattern: str = "*.dcm") -> dict[str, Seen]:
    """Objects by the case of their study, and the lines that name the study or its folder."""
    objects = [dcmread(path) for path in sorted(folder.rglob(pattern)) if path.is_file()]
    found = {}
    for name in OUTCOMES:
        study = study_of(cases / name)
        lines = [line for line in told.splitlines() if study in line or f"/{name}/" in line]
        lines = [line for line in lines if not line.startswith("skipped ")]
        own = [o for o in objects if o.StudyInstanceUID == study]
        # A folder's name says what is wrong with it; what the node says must say so itself.
        found[name] = Seen(own, re.sub(r"\s+", " ", "\n".join(lines)).replace(f"/{name}/", "/-/"))
    return found
