"""What the README says of the tree is what the tree says of itself."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def first_line(folder: Path) -> str:
    """First line of a package's docstring."""
    return first_line_of(folder / "__init__.py")


def first_line_of(module: Path) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n")[0]


def test_every_room_stands_in_the_readme_with_its_own_first_line():
    tree = README[README.index("## The house") :].split("```")[1].strip("\n").split("\n")
    expected = []
    for package in ("dicom_node", "inference", "engines", "training", "conformance"):
        expected.append(f"{package + '/':<20}{first_line(ROOT / package)}")
        modules = sorted(p for p in (ROOT / package).glob("*.py") if not p.stem.startswith("__"))
        expected += [f"  {p.name:<18}{first_line_of(p)}" for p in modules]
        rooms = sorted(p for p in (ROOT / package).iterdir() if (p / "__init__.py").is_file())
        expected += [f"  {room.name + '/':<18}{first_line(room)}" for room in rooms]
    assert len(expected) > 25
    assert [line for line in tree if not line.startswith(("tests/", "deploy/"))] == expected


def test_the_readme_fits_a_terminal():
    long = [line for line in README.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert long == []


def test_the_folders_of_a_package_are_few_and_their_modules_too():
    for package in ("dicom_node", "inference", "engines", "training", "conformance"):
        top = [p for p in (ROOT / package).iterdir() if p.name != "__pycache__"]
        assert len(top) <= 22, package
        for folder in (ROOT / package).rglob("__init__.py"):
            modules = [p for p in folder.parent.glob("*.py") if p.name != "__init__.py"]
            assert len(modules) <= 15, folder.parent


def test_every_decision_has_a_date_and_a_status():
    pages = sorted((ROOT / "deploy" / "decisions").glob("*.md"))
    assert len(pages) >= 14
    for page in pages:
        head = page.read_text().split("**Context.**")[0]
        assert "Status: " in head, page.name
        assert "2026-" in head, page.name
