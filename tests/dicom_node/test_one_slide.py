"""A slide that fails or lacks something has a report that says so; the others have theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from failing import WORDS
from nodes import node, storescp, storescu, study_of, wait_for
from pydicom import dcmread

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.states import State
from inference.phantom.draw import draw
from slides import as_concatenation, new_study_copy

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
FAILING = str(Path(__file__).parents[1] / "support" / "failing.py")


@pytest.fixture(scope="module")
def two_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two slides, containers A and B."""
    folder = tmp_path_factory.mktemp("two")
    write_slide(draw(5, rows=1536, cols=2048).pixels, folder / "A", mpp=0.5, seed="one slide")
    study = study_of(folder / "A")
    new_study_copy(folder / "A", folder / "B", "other")
    for name in "AB":
        for path in (folder / name).glob("*.dcm"):
            ds = dcmread(path)
            ds.StudyInstanceUID, ds.ContainerIdentifier = study, name
            ds.save_as(path)
    return folder


@pytest.mark.parametrize("point", ["analyze", "objects"])
def test_a_slide_that_fails_has_a_report_and_the_other_has_all_of_its_objects(
    point, two_slides, tmp_path
):
    study = study_of(two_slides / "A")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        assert storescu(n.port, two_slides).returncode == 0
        n.start("worker", FAILING, point, "B")
        n.work()  # what delivers, too
        revision = n.finished(study)
        objects = pacs.objects()
        assert sorted(o.SOPClassUID for o in objects) == sorted([SR, SR, SEG, SEG])
        failed = [o for o in objects if o.SOPClassUID == SR and "NA-" in str(o)]
        assert len(failed) == 1
        code = {"analyze": "NA-ANALYSIS", "objects": "NA-RESULTS"}[point]
        assert code in str(failed[0])
        assert revision.state is State.PARKED, "an operator must see to it"
        assert "Error at failing.py" in revision.reason
        assert WORDS not in n.log + revision.reason + str(objects)
        # Mended: the true report replaces the one that said it failed.
        n.kill()
        n.work()
        n.run("retry", study)
        again = wait_for(
            lambda: (r := n.ledger.queries.revision(study)).state is State.DONE and r,
            what="the second attempt",
        )
        assert again.attempt == 2
        assert len([o for o in pacs.objects() if o.SOPClassUID == SEG]) == 4
        (true,) = (
            o for o in pacs.objects() if o.SOPClassUID == SR and "PredecessorDocumentsSequence" in o
        )
        (named,) = true.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == failed[0].SOPInstanceUID


def test_a_slide_of_which_not_even_a_report_can_be_made_parks_the_study_after_the_others(
    two_slides, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, two_slides)
        n.start("worker", FAILING, "report", "B")
        n.work()  # what delivers, too
        revision = n.finished(study_of(two_slides / "A"))
        assert sorted(o.SOPClassUID for o in pacs.objects()) == sorted([SR, SEG, SEG])
        assert revision.state is State.PARKED
        assert "no report can be made of it: AttributeError at failing.py" in revision.reason


def test_a_slide_that_stays_incomplete_has_a_preliminary_report_until_the_rest_arrives(
    two_slides, tmp_path
):
    study = study_of(two_slides / "A")
    files = as_concatenation(two_slides / "B", tmp_path / "B", 2)
    first, second = (path for path in files if "-part-" in path.name)
    others = [path for path in files if path not in (first, second)]
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="incomplete_after_s = 4") as n,
    ):
        n.start()
        storescu(n.port, two_slides / "A", *others, first)
        revision = n.finished(study)
        assert revision.state is State.PARKED
        assert "incomplete after" in revision.reason
        assert "part 2 of 2 missing" in revision.reason
        objects = pacs.objects()
        assert sorted(o.SOPClassUID for o in objects) == sorted([SR, SR, SEG, SEG])
        (preliminary,) = (o for o in objects if "NA-INCOMPLETE" in str(o))
        assert preliminary.CompletionFlag == "PARTIAL"
        texts = [str(e.value) for e in preliminary.iterall() if e.keyword == "TextValue"]
        assert any("Preliminary" in t and "part 2 of 2 missing" in t for t in texts), texts
        before = pacs.digests()
        storescu(n.port, second)
        wait_for(lambda: n.ledger.queries.revision(study).revision == 2, what="a new revision")
        assert n.finished(study).state is State.DONE
        assert before.items() <= pacs.digests().items(), "the sound slide's objects stay"
        old = {o.SOPInstanceUID for o in objects}
        new = [o for o in pacs.objects() if o.SOPInstanceUID not in old]
        assert sorted(o.SOPClassUID for o in new) == sorted([SR, SEG, SEG])
        (final,) = (o for o in new if o.SOPClassUID == SR)
        assert final.CompletionFlag == "COMPLETE"
        (named,) = final.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        replaced = named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert replaced == preliminary.SOPInstanceUID
