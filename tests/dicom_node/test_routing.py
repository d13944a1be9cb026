"""Which models run on a slide: what bundles are made for, rules, order, and what is said."""

from __future__ import annotations

import json

import pytest
from bundles import manifest, write_bundle, write_sums
from pydicom import Dataset
from specimen_cases import BREAST, CASES, LUNG
from specimens import E, H, header, specimen
from tiny_slides import noise, write_level

from dicom_node.cli import main
from dicom_node.config.loading import ConfigError, load_config
from dicom_node.config.models import ModelEntry
from dicom_node.work.routing.route import facts_of, route
from dicom_node.work.routing.values import Route, Student
from engines.manifest.claims import Applicability
from engines.manifest.values import Code
from inference.specimen.organs import is_covered, organs
from inference.specimen.says import read_specimens

COLON = ("71854001", "SCT", "Colon")
RECTUM = ("34402009", "SCT", "Rectum")
DAB = ("113159008", "SCT", "diaminobenzidine stain")
BIOPSY = ("309058007", "SCT", "breast tru-cut biopsy sample")


def student(name: str, *made_for, stains=(), specimens=(), fixture=False, **entry) -> Student:
    """A model whose bundle is made for these organs."""

    def codes(triplets):
        return tuple(Code(value=v, scheme=s, meaning=m) for v, s, m in triplets)

    applicability = Applicability(
        minimum_tissue_mm2=0,
        organs=codes(made_for),
        stains=codes(stains),
        specimens=codes(specimens),
    )
    return Student(ModelEntry.model_validate({"name": name, **entry}), applicability, fixture)


def routed(dataset: Dataset, *students: Student, sender: str | None = None) -> Route:
    return route(facts_of([read_specimens(dataset)], sender), students)


def names(answer: Route) -> list[str]:
    return [one.name for one in answer.taken]


THREE = (student("lung", LUNG), student("breast", BREAST), student("bowel", COLON, RECTUM))


@pytest.mark.parametrize(("dataset", "organ"), CASES.values(), ids=CASES)
def test_a_described_specimen_goes_to_the_model_of_its_organ_or_to_none(dataset, organ):
    answer = routed(dataset, *THREE)
    wanted = {"lung": ["lung"], "breast": ["breast"], "bowel": ["colon", "rectum"]}
    expected = [name for name, of in wanted.items()
                if organ and is_covered(organs()[organ], [organs()[o] for o in of])]  # fmt: skip
    assert names(answer) == expected
    assert len(answer.taken) + len(answer.passed) == 3
    if not expected:
        assert answer.sentence.startswith("No model applies. ")


def test_where_no_model_applies_it_is_said_what_was_found_and_what_each_needs():
    answer = routed(header(specimen(("T-62000", "SRT", "Liver"))), *THREE)
    assert answer.sentence == (
        "No model applies. The organ is liver, by Primary Anatomic Structure Sequence (T-62000, "
        "SRT, Liver). Model lung: Organ: found liver, needed lung. Model breast: Organ: found "
        "liver, needed breast. Model bowel: Organ: found liver, needed colon or rectum."
    )


def test_a_slide_that_names_no_organ_gets_no_model_that_needs_one():
    answer = routed(header(), *THREE)
    assert answer.sentence.startswith("No model applies. The slide names no organ, ")
    assert answer.passed[0].why[0].found == "none that is certain"
    assert names(routed(header(), student("any"))) == ["any"]


def test_levels_that_name_different_organs_leave_it_undecided_and_silent_ones_do_not():
    lung, breast, silent = (
        read_specimens(header(*described))
        for described in ([specimen(LUNG)], [specimen(BREAST)], [])
    )
    assert names(route(facts_of([lung, silent], None), THREE)) == ["lung"]
    assert names(route(facts_of([silent, lung], None), THREE)) == ["lung"]
    answer = route(facts_of([lung, breast], None), THREE)
    assert "undecided: the levels of the slide are of breast and lung." in answer.sentence
    undecided = read_specimens(header(specimen([LUNG, BREAST])))
    assert names(route(facts_of([lung, undecided], None), THREE)) == []


def test_a_rule_narrows_what_the_bundle_is_made_for():
    narrow = student("colon", COLON, RECTUM, rule={"organs": ["rectum"]})
    assert names(routed(header(specimen(RECTUM)), narrow)) == ["colon"]
    assert names(routed(header(specimen(COLON)), narrow)) == []


def test_a_rule_widens_it_only_with_override_and_then_says_so():
    rule = {"organs": ["T-04000^SRT"]}
    slide = header(specimen(BREAST))
    assert names(routed(slide, student("m", LUNG, rule=rule))) == []
    answer = routed(slide, student("m", LUNG, rule=rule, override=True))
    assert names(answer) == ["m"]
    assert answer.taken[0].sentences[0] == (
        "The organs that the model is made for (Lung) were set aside by the configuration of "
        "this node."
    )
    assert names(routed(header(specimen(LUNG)), student("m", LUNG, rule=rule, override=True))) == []


def test_override_without_a_rule_for_it_sets_nothing_aside():
    rule = {"body_parts": ["BREAST"]}
    slide = header(specimen(BREAST), BodyPartExamined="BREAST")
    assert names(routed(slide, student("m", LUNG, rule=rule, override=True))) == []
    one = student("m", BREAST, stains=(H, E), rule={"organs": ["breast"]}, override=True)
    assert names(routed(header(specimen(BREAST, stains=(H, DAB))), one)) == []


def test_an_organ_of_a_bundle_that_is_not_known_here_takes_no_slide():
    strange = student("m", ("123037004", "SCT", "Body structure"))
    why = routed(header(specimen(LUNG)), strange).passed[0].why
    assert why[0].needed == "Body structure (not known here)"


def test_stains_of_a_bundle_may_be_unstated_and_those_of_a_rule_may_not():
    made_for = student("m", stains=(H, E))
    by_rule = student("m", rule={"stains": ["12710003^SCT", "36879007^SCT"]})
    stained, other, silent = (
        header(specimen(BREAST, stains=stains)) for stains in ((H, E), (H, DAB), ())
    )
    assert names(routed(stained, made_for)) == names(routed(stained, by_rule)) == ["m"]
    assert names(routed(other, made_for)) == names(routed(other, by_rule)) == []
    assert routed(silent, made_for).taken[0].sentences == (
        "The stain is not stated in the slide; the model is made for hematoxylin stain, water "
        "soluble eosin stain.",
    )
    assert routed(silent, by_rule).passed[0].why[0].found == "none stated"


def test_specimen_types_are_needed_where_bundle_or_rule_name_them():
    slide = header(specimen(BREAST, type=BIOPSY))
    for one in (student("m", specimens=(BIOPSY,)),
                student("m", rule={"specimens": ["309058007^SCT"]})):  # fmt: skip
        assert names(routed(slide, one)) == ["m"]
        (why,) = routed(header(specimen(BREAST)), one).passed[0].why
        assert (why.attribute, why.found) == ("Specimen Type", "none stated")


def test_sender_body_part_and_study_description_are_asked_and_texts_never_repeated():
    rule = {"senders": ["SCANNER"], "body_parts": ["Breast"], "study_description": "core biopsy"}
    slide = header(BodyPartExamined="BREAST", StudyDescription="Biopsy, CORE needle")
    one = student("m", rule=rule)
    assert names(routed(slide, one, sender="SCANNER")) == ["m"]
    slide = header(BodyPartExamined="MUELLER", StudyDescription="Mueller, Hans")
    answer = routed(slide, one)
    assert [w.attribute for w in answer.passed[0].why] == [
        "Sender", "Body Part Examined", "Study Description",
    ]  # fmt: skip
    assert "ueller" not in answer.sentence.casefold()


def test_a_pattern_between_slashes_is_a_regular_expression():
    one = student("m", rule={"study_description": "/^lung|pulmo/"})
    assert names(routed(header(StudyDescription="LUNG resection"), one)) == ["m"]
    assert names(routed(header(StudyDescription="No lung"), one)) == []


def test_first_gives_way_to_a_model_before_it_but_not_to_a_silent_one():
    one, two = student("one"), student("two", when="first")
    assert names(routed(header(), one, two)) == ["one"]
    assert names(routed(header(), student("one", silent=True), two)) == ["one", "two"]
    assert names(routed(header(), two, one)) == ["two", "one"]
    why = routed(header(), one, two).passed[0].why[0]
    assert why.sentence == "when: found the model one, needed no model before it"


def test_a_fixture_takes_slides_only_where_that_is_allowed():
    assert names(routed(header(), student("m", fixture=True))) == []
    assert names(routed(header(), student("m", fixture=True, allow_fixture=True))) == ["m"]


NODE = """
[node]
ae_title = "DICOMNODE"
data_dir = "node-data"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
"""
TWO = """
[[models]]
name = "breast"
bundle = "./bundle"
[models.rule]
organs = ["breast", "C77^ICDO3"]
[[models]]
name = "lung"
bundle = "./bundle"
priority = 1
rule = { organs = ["lung"] }
"""


@pytest.fixture
def write(tmp_path):
    def write(models: str):
        path = tmp_path / "node.toml"
        path.write_text(NODE + models)
        return path

    return write


def test_models_are_asked_by_priority_and_their_bundles_found_from_the_file(write, tmp_path):
    config = load_config(write(TWO), {})
    assert [m.name for m in config.students] == ["lung", "breast"]
    assert config.models[0].bundle == str(tmp_path / "bundle")
    assert config.models[0].rule.organs == ("breast", "lymph node")


def test_the_short_form_is_one_model_for_all_slides(write):
    config = load_config(write('[model]\nthreads = 3\nbundle = "default"\n'), {})
    (only,) = config.students
    assert (only.threads, only.rule.asks_nothing) == (3, True)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (TWO + "[model]\nthreads = 1\n", r"found \[model\] and \[\[models\]\]"),
        (TWO.replace('"lung"\nb', '"breast"\nb'), "names must differ, found breast, breast"),
        (TWO.replace('["lung"]', '["lunge"]'), "found lunge, expected the code of an organ"),
        (TWO.replace('["lung"]', '["774007^SCT"]'), "found 774007"),
        (TWO.replace('organs = ["lung"]', 'stains = ["HE"]'), r"models\.1\.rule\.stains"),
        (TWO.replace('organs = ["lung"]', 'study_description = "/(/"'), "no regular expression"),
        (TWO.replace('organs = ["lung"]', 'organ = ["lung"]'), r"models\.1\.rule\.organ: Extra"),
    ],
)
def test_models_that_cannot_be_told_apart_or_asked_are_refused(write, models, says):
    with pytest.raises(ConfigError, match=says):
        load_config(write(models), {})


@pytest.fixture
def two_slides(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for number, structure in enumerate((BREAST, ("774007", "SCT", "Head and Neck")), start=1):

        def edit(ds, number=number, structure=structure):
            ds.ContainerIdentifier = f"S{number}"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            ds.StudyInstanceUID = "1.2.4"
            ds.SpecimenDescriptionSequence = header(specimen(structure)).SpecimenDescriptionSequence

        write_level(folder / f"{number}.dcm", noise(64, 96), edit=edit)
    return folder


def test_route_tells_of_each_slide_which_models_it_would_get_and_why(
    write, two_slides, tmp_path, capsys
):
    write_bundle(tmp_path / "bundle")
    arguments = ["route", str(two_slides), "--config", str(write(TWO))]
    assert main([*arguments, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert sorted([t["name"] for t in a["taken"]] for a in answers) == [[], ["breast"]]
    (none,) = (a for a in answers if not a["taken"])
    assert "774007, SCT, of no organ known here" in none["sentence"]
    assert main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "runs breast The organ is breast, by Primary Anatomic Structure Sequence" in said
    assert "No model applies. The slide names no organ that is known here" in said


def test_route_refuses_a_bundle_that_is_none_and_tells_of_a_slide_that_cannot_be_read(
    write, two_slides, tmp_path, capsys
):
    arguments = ["route", str(two_slides), "--config", str(write(TWO))]
    assert main(arguments) == 3
    assert "bundle" in capsys.readouterr().err
    write_bundle(tmp_path / "bundle")
    assert main(["route", str(tmp_path / "absent"), "--config", arguments[-1]]) == 1

    def spoil(ds):
        ds.StudyInstanceUID, ds.SOPInstanceUID = "1.2.5", "1.2.5.1"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.add_new("SpecimenDescriptionSequence", "LO", "no sequence")

    write_level(two_slides / "3.dcm", noise(64, 96), edit=spoil)
    assert main(arguments) == 1
    read = capsys.readouterr()
    assert "runs" in read.out
    assert "SpecimenDescriptionSequence is no sequence" in read.err


def test_route_asks_what_the_bundle_itself_is_made_for(write, two_slides, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "bundle")
    content = manifest()
    content["applicability"]["organs"] = [{"value": "39607008", "scheme": "SCT", "meaning": "Lung"}]
    (bundle / "manifest.json").write_text(json.dumps(content))
    write_sums(bundle)
    models = '[[models]]\nname = "all"\nbundle = "./bundle"\n'
    assert main(["route", str(two_slides), "--config", str(write(models)), "--json"]) == 0
    assert all(not a["taken"] for a in json.loads(capsys.readouterr().out))
