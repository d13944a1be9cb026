"""The command line: each command has typed arguments of its own and is imported when chosen."""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from dicom_node import cli
from dicom_node.commands import flags

ROOT = Path(__file__).parents[2]
HEAVY = {"openvino", "onnxruntime", "wsidicom", "highdicom", "dbos", "sqlalchemy", "pynetdicom"}

LINES = {
    "demo": "demo",
    "serve": "serve",
    "ingest": "ingest --supervisor 7",
    "worker": "worker --config other.toml",
    "egress": "egress",
    "analyze": "analyze a b --out c --threads 2",
    "route": "route a b --config other.toml --sender SCANNER --json",
    "engine build": "engine build default",
    "engine compare": "engine compare default --json",
    "studies": "studies",
    "studies show": "studies show 1.2 --json",
    "studies cancel": "studies cancel 1.2",
    "retry": "retry 1.2",
    "recall": "recall --bundle abc --because x --yes --json",
    "recall study": "recall --study 1.2 --reason slide --dry-run",
    "pause": "pause analysis",
    "resume": "resume pacs --json",
    "recover": "recover --json",
    "conformance-statement": "conformance-statement --out s.md",
    "purge": "purge --dry-run",
    "hold": "hold 1.2 --release",
    "erase": "erase P1 --yes",
    "check": "check",
}


def given(line: str):
    words = line.split()
    return flags.given(cli.parser(words[0]).parse_args(words))


def test_every_command_is_tried_here():
    assert {line.split()[0] for line in LINES.values()} == set(cli.COMMANDS)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_command_gets_the_frozen_values_that_its_run_asks_for(line):
    module = importlib.import_module(cli.COMMANDS[line.split()[0]][0])
    asked = get_type_hints(module.run)["arguments"]
    values = given(line)
    assert type(values) in (get_args(asked) or (asked,))
    assert list(inspect.signature(module.add).parameters) == ["parser"]
    with pytest.raises(FrozenInstanceError):
        setattr(values, fields(values)[0].name, None)
    assert not hasattr(values, "__dict__")


def test_flags_before_and_after_a_sub_command_count_both():
    assert given("studies --config a.toml --json show 1.2").as_json
    assert given("studies --config a.toml show 1.2").config == Path("a.toml")
    assert given("studies --config a.toml show 1.2 --config b.toml").config == Path("b.toml")
    assert given("studies show 1.2").uid == "1.2"
    assert given("studies").uid is None


def test_a_field_without_a_flag_is_an_error():
    namespace = cli.parser("retry").parse_args(["retry", "1.2"])
    del namespace.uid
    with pytest.raises(AttributeError):
        flags.given(namespace)


def test_help_loads_no_command_and_nothing_heavy(run_python):
    loaded = run_python(
        "import sys, contextlib, io\n"
        "from dicom_node.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print(*sorted(sys.modules))"
    ).split()
    commands = {name for name in loaded if name.startswith("dicom_node.commands.")}
    assert commands == {"dicom_node.commands.flags"}
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("name", ["ingest", "studies"])
def test_a_command_chosen_loads_no_other_and_no_engine(name, run_python):
    loaded = run_python(
        "import sys\n"
        "from dicom_node.cli import main\n"
        f"assert main(['{name}', '--config', '/nowhere.toml']) == 3\n"
        "print(*sorted(sys.modules))"
    ).split()
    commands = {module for module, _ in cli.COMMANDS.values()}
    assert commands & set(loaded) == {cli.COMMANDS[name][0]}
    assert not {"openvino", "onnxruntime", "wsidicom", "highdicom", "dbos"} & set(loaded)


def test_exit_statuses_are_defined_once():
    where = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dicom_node").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("FAILED", "REFUSED", "MAY_PASS")
    }
    assert where == {"dicom_node/exit_status.py"}
