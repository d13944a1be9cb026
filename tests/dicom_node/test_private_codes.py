"""Every code of our scheme stands in one table, wherever it is written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from dicom_node.results import codes
from engines.manifest.values import Code

ROOT = Path(__file__).parents[2]
SOURCES = ("dicom_node", "inference", "training", "engines")
TABLE = ROOT / "dicom_node" / "results" / "codes.py"


def in_manifests() -> Iterator[tuple[str, str]]:
    """Value and meaning of every code of our scheme in a shipped manifest."""
    for path in sorted(ROOT.glob("engines/bundles/*/manifest.json")):
        yield from _in(json.loads(path.read_text()))


def _in(part: object) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        if part.get("scheme") == codes.SCHEME:
            yield part["value"], part["meaning"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _in(one)


def in_source(tree: ast.AST) -> Iterator[str]:
    """A pattern of the value of every code of our scheme that a module writes: in a call, or in a
    dictionary with a scheme."""
    ours = {"SCHEME"} | {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_scheme(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if any(_is_scheme(argument, ours) for argument in node.args[1:]):
                yield _pattern(node.args[0])
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            values = dict(zip(keys, node.values, strict=True))
            if "value" in values and _is_scheme(values.get("scheme"), ours):
                yield _pattern(values["value"])


def _is_scheme(node: ast.AST | None, names: set[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in names
    if isinstance(node, ast.Name):
        return node.id in names
    return isinstance(node, ast.Constant) and node.value == codes.SCHEME


def _pattern(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(part) for part in node.values)
    return ".+" if isinstance(node, ast.FormattedValue) else "a value that nobody can look up"


def test_every_code_of_a_shipped_manifest_is_in_the_table_with_its_meaning() -> None:
    found = list(in_manifests())
    known = {(code.value, code.meaning) for code in codes.PRIVATE}
    assert [code for code in found if code not in known] == []
    assert ROOT.joinpath("engines/bundles/default/manifest.json").is_file()


def test_every_code_that_a_module_writes_is_in_the_table() -> None:
    values = [code.value for code in codes.PRIVATE]
    wrong, found = [], 0
    for path in (p for name in SOURCES for p in sorted((ROOT / name).rglob("*.py"))):
        if path == TABLE:
            continue
        for pattern in in_source(ast.parse(path.read_text())):
            found += 1
            if not any(re.fullmatch(pattern, value) for value in values):
                wrong.append(f"{path.relative_to(ROOT)}: {pattern}")
    assert wrong == []
    assert found, "nothing was looked at"


@pytest.mark.parametrize(
    "text",
    [
        'Code("NEW", "99DICOMNODE", "New")',
        'Code("NEW", codes.SCHEME, "New")',
        'OURS = "99DICOMNODE"\ndef f(n): return _code(f"NEW-{n}", OURS, "New")',
        '{"value": "NEW", "scheme": "99DICOMNODE", "meaning": "New"}',
    ],
)
def test_a_code_beside_the_table_would_be_found(text: str) -> None:
    (pattern,) = in_source(ast.parse(text))
    assert pattern.startswith("NEW")


def test_a_code_of_a_bundle_that_is_no_short_string_is_refused() -> None:
    Code(value="A" * 16, scheme="SCT", meaning="m")
    with pytest.raises(ValidationError, match="at most 16 characters"):
        Code(value="A" * 17, scheme="SCT", meaning="m")
