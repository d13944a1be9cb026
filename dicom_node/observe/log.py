"""Logging: one line per event, JSON in production and readable on a terminal; no patient data.

Libraries quote what they read: an exception's text, a warning, a message of theirs may hold a
patient's name. So nothing that a library says is logged, only that it spoke, where, and the class
of the error. Our own fields are UIDs, AE titles, counts, durations and our own sentences.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, cast

import structlog

from dicom_node.observe.plain import plain, plain_values
from dicom_node.observe.stream import Unfailing

log = structlog.get_logger()


def configure(
    format: Literal["auto", "json", "console"] = "auto", level: str = "info", **fixed: str
) -> None:
    """Send structlog and the libraries' loggers to stderr; `fixed` fields go into every line.

    What would reach stderr past the log (an exception that ends a thread) becomes a line of it;
    warnings are not shown, nor kept.
    """
    stream = Unfailing(sys.stderr)
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    # Context variables do not reach the library's threads, so what is fixed is added by hand.
    shared: list[structlog.typing.Processor] = [
        lambda _logger, _name, event: {**fixed, **event},
        structlog.contextvars.merge_contextvars,
        _without_exception_text,
        _harmless,
        stream.tell_lost,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        _Console() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, stream)),  # a line at a time
        cache_logger_on_first_use=False,
    )
    handler: logging.Handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_library_text, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    _hear_libraries(handler)
    sys.excepthook = _process_ended
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_ended


def _hear_libraries(handler: logging.Handler) -> None:
    """Let what libraries log come to us, and nothing of theirs to stderr past it."""
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak only when something is wrong: pynetdicom's info lines repeat our own events.
    root.setLevel(logging.WARNING)
    # pydicom has a warning for each odd value, and Python keeps every text that it has warned of:
    # what is only not shown fills the memory with the words of senders.
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    # A destination that cannot be reached is our own event; these would say it twice, as errors.
    for name in ("pynetdicom.acse", "pynetdicom.transport"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A line that cannot be formatted would be shown with its values.
    logging.raiseExceptions = False
    for name in _OF_THEIR_OWN:
        own = logging.getLogger(name)
        own.handlers, own.propagate = [_Silent()], True


_OF_THEIR_OWN = ("dbos",)
"""Loggers whose library writes to stderr by itself, past this log."""
_TO_PASTE = "to_allow_it_add"
"""The field whose lines are ours, to be pasted as they stand: what others chose is quoted there, so
that it has no line end."""


def place_of(error: BaseException) -> str:
    """Class of an error and where it was raised, `ValueError at header.py:12`; never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{at}"


def trace_of(error: BaseException) -> list[str]:
    """The way to where an error was raised, `header.py:12 read`; neither its text nor values."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def os_reason(error: OSError) -> str:
    """What the operating system says, `ENOSPC: No space left on device`; no path.

    A library's OSError has no number, and its text is not repeated.
    """
    if error.errno is None or error.errno not in errno.errorcode:
        return place_of(error)
    return f"{errno.errorcode[error.errno]}: {error.strerror}"


class _Silent(logging.NullHandler):
    """Stands where a library would put a handler of its own to stderr, which it does not beside
    one that is there."""


def _without_exception_text(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """`exc_info` of an event becomes the class of the exception and the way to it."""
    found = event.pop("exc_info", None)
    if not found:
        return event
    error = found if isinstance(found, BaseException) else None
    if error is None:
        error = (found if isinstance(found, tuple) else sys.exc_info())[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["trace"] = trace_of(error)
    return event


def _harmless(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """What was said by others moves no cursor of who reads it."""
    ours = ("_record", "_from_structlog")
    made = {k: v if k in ours else plain_values(v) for k, v in event.items()}
    if isinstance(block := event.get(_TO_PASTE), str):
        made[_TO_PASTE] = "\n".join(plain(line) for line in block.split("\n"))
    return made


class _Console:
    """A line of a terminal; what can be pasted follows on lines of its own."""

    def __init__(self) -> None:
        self._line = structlog.dev.ConsoleRenderer()

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        block = event.get(_TO_PASTE)
        if not (isinstance(block, str) and "\n" in block):
            return self._line(logger, name, event)
        rest = {key: value for key, value in event.items() if key != _TO_PASTE}
        return f"{self._line(logger, name, rest)} {_TO_PASTE}:\n{block}"


def _without_library_text(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """What a library logs: where in it, and the class of the exception it has caught."""
    record: logging.LogRecord = event["_record"]
    kept = {"_record": record, "_from_structlog": False, "event": "library_message"}
    kept |= {"logger": record.name, "at": f"{record.filename}:{record.lineno}"}
    return {**kept, "exc_info": record.exc_info} if record.exc_info else kept


def _process_ended(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    log.critical("process_failed", error=type(error).__name__, trace=trace_of(error))


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    error = found.exc_value
    if error is not None:
        log.error("error_ignored", error=type(error).__name__, trace=trace_of(error))


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        name = arguments.thread.name if arguments.thread else None
        log.critical(
            "thread_failed", thread=name, error=type(error).__name__, trace=trace_of(error)
        )
