"""The catalog has every sentence of the code, each in every language, and nothing besides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.config.languages import LANGUAGES
from dicom_node.results import codes
from dicom_node.results.language.catalog import entries, filled, holes
from dicom_node.results.language.speaking import number, phrase, sentences
from inference.specimen.organs import organs

ROOT = Path(__file__).parents[2]
OTHERS = [language for language in LANGUAGES if language != "en"]
SPEAKERS = (
    *(f"dicom_node/results/{room}" for room in (
        "ann", "case.py", "build.py", "carried", "ko", "overlay", "pdf", "pm", "seg", "sr",
        "withdrawal", "modules.py")),
    *(f"dicom_node/work/{room}" for room in ("cases", "routing", "slides.py", "interruptions.py")),
    "dicom_node/work/students/jobs.py",
    "dicom_node/study/evidence.py",
    "inference/case/predict.py", "inference/composition", "inference/types.py",
    "inference/outputs/classification.py", "inference/encoded.py", "inference/predict.py",
    "inference/errors.py", "inference/quality.py", "inference/slide", "inference/tiles",
    "inference/tissue", "inference/specimen/deciding.py", "inference/specimen/codes.py",
)  # fmt: skip
"""What says anything that a report, a map or a picture repeats."""
COMPOSED = {"{count:n} more heatmaps not shown.", "{count:n} more heatmap not shown.",
            "tumor probability"}  # fmt: skip
"""What the code says in parts that are shorter than a window."""
NOT_FOR_READERS = (
    # Of the equipment, a parameter or an identifier: read by machines and administrators.
    "Inference with bundle", "Choice among models of digest", "Withdrawal of what was made",
    "px of the base level", "withdrawal of", "top patch", "frame of reference", "/ ",
    # For the log and the operator.
    "each tile a pixel", "px, more than", "the origin and the directions", "each tile has a pixel",
    "found no font", "of the package weblate-fonts", "no objects can be made",
    "no report can be made", "not made, though asked", "times while analyzing it",
    "of slide ", "unexpected ", "ISO_10918", "FeatureCollection", "<font",
    # Of a library, or a pattern; and stains by their names in the standard.
    "extraneous bytes", "unknown JFIF", "bad ICC marker", "Invalid SOS", "ISO[", "HAS ",
    "eosin stain", "%Y-%m-%d", "stopped after", "stopped while", "instead of RST",
    "finest level has", "allow_fixture = true", "building the results", "the worker died",
    # Names of attributes.
    "Body Part Examined", "Study Instance UID", "Series Instance UID",
    "Primary Anatomic Structure Modifier Sequence",
)  # fmt: skip


def literals() -> Iterator[tuple[str, str]]:
    """Where, and each run of text between the holes of a string of the code."""
    for name in SPEAKERS:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for line, text in _strings(ast.parse(file.read_text(encoding="utf-8"))):
                yield f"{file.relative_to(ROOT)}:{line}", text


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    if _is_a_remark(node):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _is_a_remark(node: ast.AST) -> bool:
    """A docstring, what goes to the log, or an error of the caller."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return getattr(node.exc.func, "id", "") in ("ValueError", "AssertionError", "KeyError")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def fragments(text: str) -> Iterator[str]:
    """Sentences, and what is left of them between holes, without signs at their ends."""
    for part in re.split(r"(?<=[.!?]) |\{[^}]*\}", text):
        yield part.removeprefix("left aside: ").strip(" .,:;()")


def test_every_entry_is_in_every_language_with_the_same_holes():
    assert len(entries()) > 400
    assert len({entry.en for entry in entries()}) == len(entries())
    for entry in entries():
        assert sorted(entry.translated) == OTHERS, entry.en
        for text in entry.translated.values():
            assert holes(text) == entry.kinds, entry.en


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_said_comes_back_to_its_own_line_of_the_catalog(language):
    samples = {
        None: "Xyz",
        "n": "3.5",
        "s": "Xyz",
        "name": "Xyz",
        "word": "Xyz",
        "said": "Xyz",
        "all": "A b. C d",
    }
    for entry in entries():
        values = {name: samples[kind] for name, kind in entry.kinds.items()}
        said = re.sub(r"\{(\w+)(:\w+)?\}", lambda hole: values[hole[1]], entry.en)  # noqa: B023
        translated = {
            n: number(v, language) if entry.kinds[n] == "n" else v for n, v in values.items()
        }
        assert phrase(said, language) == filled(entry.translated[language], translated), entry.en


def test_every_sentence_of_the_code_is_in_the_catalog():
    known = "\n".join(entry.en for entry in entries())
    lacking = [
        f"{where}: {part}"
        for where, text in literals()
        for part in fragments(text)
        if part.count(" ") >= 2
        and part not in known
        and phrase(part, "de") == part
        and not any(other in text for other in NOT_FOR_READERS)
    ]
    assert not lacking, "\n".join(lacking)


def test_every_code_of_ours_has_a_name_in_every_language():
    for code in codes.PRIVATE:
        for language in OTHERS:
            told = phrase(code.meaning, language)
            assert told != code.meaning or code.meaning in ("Heatmap", "Region", "Stroma"), (
                code.meaning
            )


def test_every_organ_has_a_name_in_every_language():
    for organ in organs():
        for language in OTHERS:
            assert phrase(organ, language) != organ, organ
            told = sentences(f"Measured on {organ} only.", language)
            assert told == f"Nur an {phrase(organ, language)} gemessen."


def test_nothing_is_in_the_catalog_that_the_code_does_not_say():
    named = [c for c in vars(codes).values() if isinstance(c, codes.Code)]
    meanings = [code.meaning for code in (*named, *codes.PRIVATE)]
    # What shipped students call things stands in their manifests.
    shipped = [
        path.read_text(encoding="utf-8") for path in ROOT.glob("engines/bundles/*/manifest.json")
    ]
    said = "\n".join([*(text for _, text in literals()), *meanings, *organs(), *shipped])
    unused = [
        e.en
        for e in entries()
        if e.en not in COMPOSED and not any(w in said for w in _windows(e.en))
    ]
    assert not unused, "\n".join(unused)


def _windows(template: str) -> list[str]:
    """Runs of three words, or of as many as there are."""
    words = [part.split() for part in fragments(template) if part]
    runs = [" ".join(w[n : n + 3]) for w in words for n in range(max(1, len(w) - 2))]
    return [run for run in runs if run]


def test_words_of_others_stay_and_are_marked():
    assert (
        sentences("Not for Tuesdays. Ever.", "de") == "[Originalwortlaut] Not for Tuesdays. Ever."
    )
    assert sentences("Yes.", "de") == "Ja."
    mixed = sentences("No tissue was found on the slide. Blue moon rising.", "de")
    assert mixed == (
        "Auf dem Schnitt wurde kein Gewebe gefunden. [Originalwortlaut] Blue moon rising."
    )


def test_what_is_counted_is_said_wholly_in_the_language_and_names_of_a_bundle_stay():
    said = {
        "share of A, B: Not assessable, because 7 tiles of tissue were found; 10 are needed.":
        "share of A, B: Nicht beurteilbar: 7 Kacheln mit Gewebe gefunden; 10 werden benötigt.",
        "B: Not assessable, because no tiles of tissue were found in and around A; 10 are needed.":
        "B: Nicht beurteilbar: keine Kachel mit Gewebe in und um A gefunden; 10 werden benötigt.",
        "B: not assessable, because no tiles of tissue were found; 10 are needed.":
        "B: nicht beurteilbar: keine Kachel mit Gewebe gefunden; 10 werden benötigt.",
        "Share of B in and around a: 4.5 % (B in and around A, 2 of 43 tiles of tissue; "
        "uncertainty: not known).":
        "Share of B in and around a: 4,5 % (B in und um A, 2 von 43 Gewebekacheln; "
        "Unsicherheit: nicht bekannt).",
        "A-B ratio: 2 (A over B, 28 over 14; uncertainty: not known).":
        "A-B ratio: 2 (A zu B, 28 zu 14; Unsicherheit: nicht bekannt).",
        "Area: 2.5 mm2 (A, 5 of 9 tiles of tissue; 95 % interval 2 to 3 mm2; tests).":
        "Area: 2,5 mm2 (A, 5 von 9 Gewebekacheln; 95-%-Intervall 2 bis 3 mm2; "
        "[Originalwortlaut] tests).",
        "A, B: Not assessed, because it was measured on large intestine only. "
        "The slide names no organ, neither by a code nor in words.":
        "A, B: Nicht beurteilt, weil nur an Dickdarm gemessen wurde. "
        + sentences("The slide names no organ, neither by a code nor in words.", "de"),
    }  # fmt: skip
    for english, german in said.items():
        assert sentences(english, "de") == german
    assert phrase("Share of b in and around a", "de") == "Share of b in and around a"


def test_numbers_have_a_comma_in_german_and_versions_do_not():
    assert phrase("0.5 to 12.25", "de") == "0,5 bis 12,25"
    assert sentences("Read for tiles: VOLUME of 5 x 6 px at 0.25 um per pixel.", "de") == (
        "Gelesen für Kacheln: VOLUME mit 5 x 6 px bei 0,25 um je Pixel."
    )
    assert phrase("version 0.6.0", "de") == "Version 0.6.0"


def test_english_is_said_as_it_is():
    for text in ("0.5 to 1", "No tissue was found on the slide.", "Whatever."):
        assert phrase(text, "en") == sentences(text, "en") == text


@pytest.mark.parametrize(
    ("named", "german"),
    [
        (
            "Tumor 75 % (71 to 79 %; 0.0553 mm2), Stroma 21.9 % (17.9 to 25.9 %; 0.0161 mm2), "
            "Lymphocytes 3.12 % (0 to 7.12 %; 0.0023 mm2)",
            "Tumor 75 % (71 bis 79 %; 0,0553 mm2), Stroma 21,9 % (17,9 bis 25,9 %; 0,0161 mm2), "
            "Lymphocytes 3,12 % (0 bis 7,12 %; 0,0023 mm2)",
        ),
        (
            "Tumor 75.2 % (71 to 79 %; 1.55 mm2), Tumor (in situ) 21.9 % (0.0161 mm2), Fat 3.12 % "
            "(0 to 7.12 %; 0.0023 mm2)",
            "Tumor 75,2 % (71 bis 79 %; 1,55 mm2), Tumor (in situ) 21,9 % (0,0161 mm2), Fat 3,12 % "
            "(0 bis 7,12 %; 0,0023 mm2)",
        ),
        (
            "Tumor 75.2 % (1.55 mm2), Fat 0.02 mm2 (too few tiles for a share), Stroma 3.12 % "
            "(0 to 7.12 %; 0.0023 mm2), told below, of fewer slides: Mucus, not assessed: Muscle",
            "Tumor 75,2 % (1,55 mm2), Fat 0,02 mm2 (zu wenige Kacheln für einen Anteil), Stroma "
            "3,12 % (0 bis 7,12 %; 0,0023 mm2), unten genannt, von weniger Schnitten: Schleim, "
            "nicht beurteilt: Muscle",
        ),
    ],
)  # fmt: skip
def test_each_class_of_a_composition_is_said_in_german_however_many_there_are(named, german):
    end = "; of 0.0737 mm2 in 288 tiles, each counted whole for its most probable class."
    assert sentences(f"Composition of the tissue: {named}{end}", "de") == (
        f"Zusammensetzung des Gewebes: {german}; von 0,0737 mm2 in 288 Kacheln, jede ganz für ihre "
        "wahrscheinlichste Klasse gezählt."
    )
