"""What the log says, and what it must never say."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_in_the_log_quotes_no_patient(run_python, format):
    said = run_python(
        f"""
import sys
sys.stderr = sys.stdout
import structlog
from pydicom import Dataset
from dicom_node.log import configure

configure({format!r}, "info", role="worker")

def fails(source):
    raise ValueError("broken")

source = Dataset()
source.PatientName, source.PatientID = "Doe^Jane", "4711"
try:
    fails(source)
except ValueError:
    structlog.get_logger().exception("unexpected_error")
"""
    )
    assert "unexpected_error" in said
    assert "fails" in said
    assert "worker" in said
    assert "Doe" not in said
    assert "4711" not in said
