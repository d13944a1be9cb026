"""A worker that stands at its second batch of tiles until it is asked to stop, or FILE is there.

    python tests/support/held.py FILE worker --config node.toml

A test that has to act in the middle of an analysis is not early or late by what the machine does.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from dicom_node.cli import main
from engines.runtime import Runtime
from inference.tiles.encoding import Encoding
from inference.types import Progress

_AGAIN_S = 0.05
_encode = Encoding.run
_run = Runtime.run
_batches = itertools.count(1)
_begun, _asked = Event(), Event()


def encode(self: Encoding, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
    def is_asked() -> bool:
        if is_over := stop():
            _asked.set()
        return is_over

    _begun.set()
    _encode(self, progress, is_asked)


def run(self: Runtime, *arguments: Any) -> Any:
    if _begun.is_set() and next(_batches) > 1:  # a student that is opened checks itself first
        while not (_asked.is_set() or _until.exists()):
            time.sleep(_AGAIN_S)
    return _run(self, *arguments)


if __name__ == "__main__":
    _until = Path(sys.argv[1])
    for owner, function in ((Encoding, encode), (Runtime, run)):
        setattr(owner, "run", function)  # noqa: B010  # a plain assignment is refused by mypy
    sys.exit(main(sys.argv[2:]))
