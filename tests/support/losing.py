"""A node whose device is lost, so many times, when its encoder is called for the n-th time.

    python tests/support/losing.py ROLE TIMES NTH serve|worker --config node.toml

The engine is real; what is raised in its place is what ONNX Runtime says when CUDA does. `TIMES` is
counted over all processes, in a file beside the configuration. With ROLE `serve` the supervisor's
worker is started by this script, too. Under `auto` the engine stands for one of a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicom_node.cli import main
from dicom_node.processes import supervisor
from engines.errors import device_failed
from engines.executor import ENCODER
from engines.known import ENGINES

SAID = (
    "Non-zero status code returned while running Conv node. CUDA failure 700: an illegal memory "
    "access was encountered ; GPU=0 ; hostname=node ; expr=cudaStreamSynchronize(stream);"
)


class Losing:
    """An executor that loses its device."""

    calls = 0

    def __init__(self, executor: Any, left: Path, nth: int) -> None:
        self._executor, self._left, self._nth = executor, left, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def run(self, graph_name: str, arrays: Any) -> Any:
        if graph_name == ENCODER:
            Losing.calls += 1
            left = int(self._left.read_text())
            if left and Losing.calls >= self._nth:
                self._left.write_text(str(left - 1))
                error = RuntimeError(SAID)
                raise device_failed(self._executor.description, error) from error
        return self._executor.run(graph_name, arrays)


def arm(left: Path, nth: int) -> None:
    """Put the loss into the engine's place."""
    real = ENGINES["openvino"]

    @contextmanager
    def opens(*arguments: Any) -> Iterator[Any]:
        with real.open(*arguments) as executor:
            yield Losing(executor, left, nth)

    ENGINES["openvino"] = replace(real, open=opens)


def pass_on(mine: Sequence[str]) -> None:
    """Have the supervisor start its worker by this script."""
    child = supervisor.Child

    def made(role: str, command: Sequence[str], patience: Any) -> Any:
        if role == "worker":
            command = [sys.executable, __file__, *mine, *command[3:]]
        return child(role, command, patience)

    supervisor.Child = made  # type: ignore[assignment,misc]  # a function makes it


if __name__ == "__main__":
    times, nth, *rest = sys.argv[1:]
    config = Path(rest[rest.index("--config") + 1])
    counter = config.with_name("losses")
    if not counter.exists():
        counter.write_text(times)
    if rest[0] == "serve":
        pass_on([times, nth])
    else:
        arm(counter, int(nth))
    sys.exit(main(rest))
