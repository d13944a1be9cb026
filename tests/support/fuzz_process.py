"""Mutants in a process of their own: what kills it, hangs it or eats its memory is a verdict."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from fuzzing import MOST_MB, MOST_S, Verdict, run
from letters import tiny_at_letter_scale
from students import student

_START_S = 300.0
"""For the interpreter and the engine; a mutant has MOST_S."""
_ADDRESS_SPACE = 12 * 2**30
"""A huge allocation then fails in the process, and leaves the machine alone."""


class FuzzProcess:
    """Runs mutants by number; started again after a mutant that it did not survive."""

    def __init__(self, folder: Path, *, objects_every: int = 1) -> None:
        self._folder = folder
        self._objects_every = objects_every
        self._starts = 0
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def verdict(self, number: int) -> Verdict:
        """What became of a mutant."""
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        assert self._process is not None
        self._pipe.send(number)
        try:
            if not self._pipe.poll(2 * MOST_S):
                return self._lost(number, f"no answer in {2 * MOST_S:.0f} s")
            found: Verdict = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            return self._lost(number, f"the process died ({self._process.exitcode})")
        if found.grown_mb > MOST_MB:  # the peak is kept, and would hide the next growth
            self.close()
        return found

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def __enter__(self) -> FuzzProcess:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir(parents=True)
        self._process = context.Process(
            target=_serve, args=(theirs, folder, self._objects_every), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_START_S):
            raise AssertionError(f"the process of the fuzzer did not start in {_START_S:.0f} s")
        self._pipe.recv()  # EOFError where it ended instead; it has printed why

    def _lost(self, number: int, fault: str) -> Verdict:
        self.close()
        return Verdict(number, "", [], "lost", [fault], "", 0.0, 0.0)


def _serve(pipe: Connection, folder: Path, objects_every: int) -> None:
    """The life of the process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    with student(folder / "tiny", tiny_at_letter_scale, threads=1) as runtime:
        run(0, runtime, folder / "slide")  # what is imported and allocated once
        pipe.send("ready")
        while True:
            number = pipe.recv()
            pipe.send(run(number, runtime, folder / "slide", objects_every=objects_every))
