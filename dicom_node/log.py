"""Logging: one line an event, JSON in production and readable on a terminal; no patient data.

Field names are allow-listed by habit, not by code: UIDs, AE titles, counts and durations only.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(
    format: Literal["auto", "json", "console"] = "auto", level: str = "info", **fixed: str
) -> None:
    """Send structlog and the libraries' loggers to stderr; `fixed` fields go into every line."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    # Context variables do not reach the library's threads, so what is fixed is added by hand.
    shared: list[structlog.typing.Processor] = [
        lambda _logger, _name, event: {**fixed, **event},
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables: a dataset among them would put a patient in the log.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    if not console:
        shared.append(structlog.processors.ExceptionRenderer(tracebacks))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak only when something is wrong: pynetdicom's info lines repeat our own events
    # and its debug lines print dataset values.
    root.setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # value warnings quote the values
    # It logs files that it leaves out by path, with values; inference says so in its own words.
    logging.getLogger("wsidicom").setLevel(logging.CRITICAL)
    # A destination that cannot be reached is our own event; these would say it twice, as errors.
    for name in ("pynetdicom.acse", "pynetdicom.transport"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
