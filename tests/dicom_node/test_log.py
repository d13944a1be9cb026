"""What the log says, and what it must never say."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from dicom_node.commands.screen.shown import shown
from dicom_node.observe.log import os_reason, place_of
from dicom_node.observe.plain import plain
from engines.errors import device_failed

ROOT = Path(__file__).parents[2]

SPEAKERS = {
    "our own event with a caught exception": """
try:
    fails(source)
except ValueError:
    structlog.get_logger().exception("unexpected_error")
""",
    "a library that logs an exception": """
try:
    fails(source)
except ValueError as error:
    logging.getLogger("library").exception(error)
    logging.getLogger("library").error("failed: %s", error)
    logging.getLogger("dbos").error(f"failed: {error}", exc_info=error)
""",
    "a library that warns": """
warnings.warn(f"odd value {source.PatientName}")
source.PatientBirthDate = "ZZ4711 is no date"
""",
    "a library whose message cannot be formatted": """
logging.getLogger("library").error("%d of %s", str(source.PatientName), 3)
""",
    "the workflow library, which has a handler of its own": """
from dbos._logger import dbos_logger, init_logger
init_logger()
dbos_logger.error(f"failed for {source.PatientName}")
""",
    "an exception that nobody can catch": """
class Dies:
    def __del__(self):
        fails(source)
Dies()
""",
    "a thread that ends with an exception": """
thread = threading.Thread(target=fails, args=(source,))
thread.start()
thread.join()
""",
    "a process that ends with an exception": "fails(source)",
    "an exception raised from another one": """
try:
    try:
        fails(source)
    except ValueError as error:
        raise RuntimeError(f"again {source.PatientID}") from error
except RuntimeError:
    structlog.get_logger().error("unexpected_error", exc_info=True)
""",
}


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("speaker", SPEAKERS)
def test_nothing_that_quotes_a_patient_reaches_the_log(speaker, format):
    said = run(
        f"""
import logging, threading, warnings
import structlog
from pydicom import Dataset
from dicom_node.observe.log import configure

configure({format!r}, "info", role="worker")

def fails(source):
    raise ValueError(f"cannot use {{source.PatientName}} of {{source.PatientID}}")

source = Dataset()
source.PatientName, source.PatientID = "ZZDoe^Jane", "ZZ4711"
structlog.get_logger().info("begun")
{SPEAKERS[speaker]}
"""
    )
    assert "begun" in said
    assert "ZZ" not in said
    if "exception" in speaker:
        assert "ValueError" in said or "RuntimeError" in said
        assert "fails" in said or "RuntimeError" in said


def test_a_library_is_heard_by_name_and_place():
    said = run(
        """
import logging
from dicom_node.observe.log import configure
configure("json")
logging.getLogger("library").error("quotes %s", "ZZDoe")
"""
    )
    line = json.loads(said)
    assert (line["event"], line["logger"], line["level"]) == (
        "library_message",
        "library",
        "error",
    )
    assert line["at"].startswith("<string>:") or ":" in line["at"]
    assert "ZZ" not in said


def test_a_log_that_cannot_be_written_does_not_end_the_work():
    done = run(
        """
import logging
import structlog
from dicom_node.observe.log import configure
configure("json")
structlog.get_logger().info("lost")
logging.getLogger("library").error("lost too")
print("went on")
""",
        stderr=Path("/dev/full"),
    )
    assert done == "went on\n"


def test_a_place_names_class_file_and_line_and_not_the_text():
    with pytest.raises(ValueError, match="ZZDoe") as caught:
        int("ZZDoe")
    assert place_of(caught.value).startswith("ValueError at test_log.py:")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "/a/path"), "ENOSPC: No space left on device"),
        (OSError("No tag to read at file position 12 ZZDoe"), "OSError"),
    ],
)
def test_the_operating_systems_words_are_repeated_and_a_librarys_are_not(error, reason):
    assert os_reason(error) == reason


def run(script: str, stderr: Path | None = None) -> str:
    """What a script prints and logs; with `stderr` only what it prints."""
    target = subprocess.STDOUT if stderr is None else stderr.open("w")
    return subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=target,
        cwd=ROOT,
        text=True,
        check=False,
    ).stdout


HOSTILE = "SCANNER\x1b[2J\x9b31m\u202efdp.exe\r\x07"
"""Clears a screen, colors it, turns the direction of writing, overwrites the line, rings."""


def test_what_others_chose_orders_a_terminal_nothing() -> None:
    assert plain(HOSTILE) == r"SCANNER\x1b[2J\x9b31m\u202efdp.exe\x0d\x07"
    assert plain("Gewebe, 組織, \u03b1 = 0.5") == "Gewebe, 組織, \u03b1 = 0.5"
    line = shown(f"[bold]{HOSTILE}[/bold]\nsecond")
    assert "\x1b" not in line.plain
    assert line.plain.startswith("[bold]SCANNER"), "no markup either"
    assert line.plain.endswith("\nsecond")


@pytest.mark.parametrize("format", ["console", "json"])
def test_the_log_orders_a_terminal_nothing_and_no_value_looks_like_an_event(format: str) -> None:
    program = f"""
import structlog
from dicom_node.observe.log import configure
configure({format!r})
structlog.get_logger().warning("refused", title={HOSTILE!r}, add="a\\n2026-01-01 [info] forged")
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    ).stderr
    assert re.findall(r"\x1b\[2J|[\x9b\u202e\x07\r]", said) == []
    assert not any(line.startswith("2026-01-01") for line in said.splitlines())


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_line_of_the_log_moves_no_cursor(format, run_python):
    said = run_python(
        "import sys, structlog\n"
        "from dicom_node.observe.log import configure\n"
        "sys.stderr = sys.stdout\n"
        f"configure({format!r})\n"
        "structlog.get_logger().warning('e', peer='\\x1b[2J\\x9b0m\\u202e', many=['a\\nb'])\n"
    )
    assert "x1b[2J" in said
    assert not set(said) & set("\x1b\x9b\u202e") or format == "console"
    for raw in ("\x1b[2J", "\x9b", "\u202e", "a\nb"):
        assert raw not in said


def test_what_is_shown_of_a_study_moves_no_cursor():
    assert plain("A\x1b[31m\x7f\x9b\u202e\n") == "A\\x1b[31m\\x7f\\x9b\\u202e\\x0a"
    assert plain("Müller, 日本 ~ µm") == "Müller, 日本 ~ µm"
    assert shown("\x1b]0;owned\x07").plain == "\\x1b]0;owned\\x07"


def test_an_engine_that_fails_is_told_without_the_words_of_its_library():
    error = device_failed("onnxruntime CPU", RuntimeError("got ZZNAME^ANNA for input 0"))
    assert str(error) == "onnxruntime CPU: the graph could not be run (RuntimeError)"
    error = device_failed("onnxruntime CPU", RuntimeError("Failed to allocate ZZ bytes"))
    assert str(error) == "onnxruntime CPU: too little memory to run the graph"


def test_warnings_about_values_of_senders_are_not_kept(run_python):
    """Python remembers each text that it has warned of, for as long as the process lives."""
    found = run_python(
        "import warnings\n"
        "from pydicom import Dataset, valuerep\n"
        "from dicom_node.observe.log import configure\n"
        "configure()\n"
        "ds = Dataset()\n"
        "for n in range(2000):\n"
        "    ds.SOPInstanceUID = f'1.2.0{n}'\n"
        "    warnings.warn(f'value {n}')\n"
        "kept = [vars(valuerep), globals()]\n"
        "print(sum(len(k.get('__warningregistry__', ())) for k in kept))\n"
    )
    assert int(found) < 10


REFUSED_SENDER = """
import sys
import tomllib
from ipaddress import ip_address
import structlog
from dicom_node.association.admission import Admission, Caller
from dicom_node.observe.log import configure
configure({format!r})
caller = Caller({title!r}, "NODE", ip_address("192.0.2.7"), None)
refusal = Admission("NODE", [], 4, None).decide(caller)
structlog.get_logger().warning(
    "association_refused", calling_ae=caller.calling_ae, reason=refusal.reason, **refusal.fields
)
"""


@pytest.mark.parametrize("format", ["json", "console"])
def test_the_log_says_what_to_add_in_lines_that_can_be_pasted(format: str) -> None:
    said = run(REFUSED_SENDER.format(format=format, title="SCANNER"))
    block = json.loads(said)["to_allow_it_add"] if format == "json" else after(said)
    (sender,) = tomllib.loads(block)["senders"]
    assert sender == {"ae_title": "SCANNER", "networks": ["192.0.2.7/32"]}


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_title_with_line_ends_adds_no_line_to_what_can_be_pasted(format: str) -> None:
    title = 'A"\nport = 1\r\n\x1b[2J\x85x\x7f'
    said = run(REFUSED_SENDER.format(format=format, title=title))
    block = json.loads(said)["to_allow_it_add"] if format == "json" else after(said)
    (sender,) = tomllib.loads(block)["senders"]
    assert set(sender) == {"ae_title", "networks"}
    assert sender["ae_title"] == title
    assert not any(line.startswith("port") for line in said.splitlines())
    assert "\x1b[2J" not in said


def after(said: str) -> str:
    """The block that a line of the console shows last, without its colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", said).partition("to_allow_it_add:")[2]


FILLS = """
import sys, structlog
from dicom_node.observe.log import configure
configure("json")
log = structlog.get_logger()
for number in range(3000):
    log.info("line", number=number, padding="x" * (200 if number % 50 else 9000))
print("went on", flush=True)
sys.stdin.readline()
log.info("read again")
log.info("and on")
"""


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_holds_up_no_work_and_says_later_what_was_lost(kind: str) -> None:
    if kind == "pipe":
        reads, writes = os.pipe()
    else:
        reads, writes = (end.detach() for end in socket.socketpair())
    with subprocess.Popen(
        [sys.executable, "-c", FILLS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writes,
        cwd=ROOT,
    ) as process:
        assert os.get_blocking(writes), "it is left as others use it"
        os.close(writes)
        assert process.stdin is not None
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 40)[0], "it hangs"
        assert process.stdout.readline() == b"went on\n"
        said: list[bytes] = []
        reading = threading.Thread(target=lambda: said.extend(os.fdopen(reads, "rb")))
        reading.start()
        time.sleep(1)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(30) == 0
        reading.join(30)
    *some, last, after = [line for line in said if line.strip()]
    told = json.loads(last)
    assert told["event"] == "read again"
    whole = [line for line in some if line.endswith(b"}\n")]
    assert len(some) - len(whole) <= 1, "at most one line was cut"
    assert told["log_lines_lost"] == 3000 - len(whole)
    assert "log_lines_lost" not in json.loads(after)
