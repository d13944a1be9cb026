"""The flags of `dicom-train`: each command's become its arguments, and help costs nothing."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from training.cli import COMMANDS

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
