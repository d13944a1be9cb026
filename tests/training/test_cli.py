"""The flags of `dicom-train`: each command's become its arguments, and help costs nothing."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from training.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]


def parsers(parser):
    """The parser, or those of its actions."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return list(inner[0].choices.values()) if inner else [parser]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_flags_of_a_command_are_the_fields_of_its_arguments(name):
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[name].module).add(parser)
    for each in parsers(parser):
        flags = {a.dest for a in each._actions if not isinstance(a, argparse._HelpAction)}
        assert flags == {field.name for field in fields(each.get_default("arguments"))}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_waits_for_no_package_of_the_training_extra(name):
    code = (
        "import sys; from training.cli import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'pandas', 'numpy', 'onnx'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_help_of_fit_names_every_method_and_methods_lists_every_setting(capsys):
    pytest.importorskip("torch", reason="needs the training extra")
    from training.commands import fit
    from training.methods.registry import METHODS

    assert tuple(sorted(METHODS)) == fit.METHODS
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    for name, method in METHODS.items():
        assert f"\n{name} (task {method.task})\n" in "\n" + said
        for field in fields(method.settings):
            assert f"  --set {field.name}=" in said


def test_a_cohort_of_ones_own_needs_no_folder_of_published_tables(tmp_path, capsys):
    pytest.importorskip("torch", reason="needs the training extra")
    words = ["fit", "age", "--cohort", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(words) == 3
    assert "--data" not in capsys.readouterr().err


def test_an_evaluation_may_be_asked_for_without_a_file(tmp_path, capsys):
    """It is what `fit` names as the next command."""
    pytest.importorskip("sksurv", reason="needs the training extra")
    assert main(["evaluate", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "neither --json nor --html" not in said
    assert "expected the folder of a run" in said
