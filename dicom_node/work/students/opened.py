"""The students that are open: as many as there is room for, the least recently used closed first.

All are opened once when the worker starts, so that a bundle, an engine or an exam that fails is
known before anything is taken from the queue. One that was closed is opened again, exam included,
when a slide needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from dicom_node.config.models import ModelEntry
from dicom_node.config.whole import Config
from dicom_node.work.routing.values import Student
from dicom_node.work.students.roster import Known, Roster
from dicom_node.work.watch import own_bytes
from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing, TooLittleMemory
from engines.names import Opened
from engines.runtime import Runtime
from inference.answers import require_answerable

log = structlog.get_logger()

Open = Callable[[Bundle, ModelEntry, Opened | None], AbstractContextManager[Runtime]]
"""Opens a runtime as the configuration has it, or the very one that was open before. Raises what
`engines.runtime.open_runtime` does."""


@dataclass(slots=True, eq=False)
class _Open:
    """A runtime, what closes it, and how many work with it now."""

    runtime: Runtime
    closing: ExitStack
    users: int = 0


class Students:
    """The students of one worker process; thread-safe."""

    def __init__(self, config: Config, opening: Open, moved: Callable[[], None]) -> None:
        """`moved` is called while they are opened: that may take minutes.

        Raises BundleRejected and EngineMissing.
        """
        self._opening = opening
        self._most = config.analysis.open_models
        self._lock = threading.RLock()
        self._open: dict[str, _Open] = {}
        is_one = not config.models
        try:
            known = [self._first(entry, is_one, moved) for entry in config.students]
        except BaseException:
            self.close()
            raise
        self.roster = Roster(tuple(known), is_one)
        if not is_one:
            memory_mb = own_bytes() >> 20
            log.info("models_open", models=sorted(self._open), of=len(known), memory_mb=memory_mb)

    @contextmanager
    def use(self, known: Known) -> Iterator[Runtime]:
        """Its runtime, opened where it was closed.

        Raises DeviceFailed where it cannot be opened now, or is another than at the start.
        """
        with self._lock:
            found = self._open.pop(known.model, None)
            found = found or self._again(known)
            self._open[known.model] = found  # the one used last is the last
            found.users += 1
        try:
            yield found.runtime
        finally:
            with self._lock:
                found.users -= 1

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].closing.close()

    def _first(self, entry: ModelEntry, is_one: bool, moved: Callable[[], None]) -> Known:
        bundle = require_answerable(open_bundle(entry.bundle))
        _require_no_fixture(bundle, entry, is_one)
        found = self._opened(bundle, entry, None)
        runtime, model = found.runtime, "" if is_one else entry.name
        self._open[model] = found
        moved()
        for other in runtime.passed_over:
            log.info("engine_passed_over", engine=other.engine, reason=other.reason)
        log.info(
            "model_ready",
            **({} if is_one else {"model": model, "silent": entry.silent}),
            bundle=bundle.manifest.name,
            version=bundle.manifest.version,
            digest=bundle.digest[:12],
            unit=bundle.manifest.unit,
            engine=runtime.engine,
            note=runtime.note or None,
        )
        is_fixture = bundle.manifest.status == "fixture"
        is_of_cases = bundle.manifest.unit == "case"
        student = Student(
            entry, bundle.manifest.applicability, is_fixture, bundle.digest, is_of_cases
        )
        return Known(model, student, bundle, runtime.engine, runtime.precision, runtime.opened)

    def _again(self, known: Known) -> _Open:
        """A runtime of a student that was closed, the same as before."""
        entry = known.student.entry
        try:
            bundle = open_bundle(entry.bundle)
            if bundle.digest != known.bundle.digest:
                raise DeviceFailed(f"the bundle of model {known.model} was changed")
            found = self._opened(bundle, entry, known.opened)
        except (BundleRejected, EngineMissing) as error:
            log.error("model_refused", model=known.model, reason=str(error))
            raise DeviceFailed(f"model {known.model} cannot be opened again now") from error
        if (found.runtime.engine, found.runtime.precision) != (known.engine, known.precision):
            found.closing.close()
            raise DeviceFailed(f"the engine of model {known.model} is another than at the start")
        log.info("model_opened_again", model=known.model)
        return found

    def _opened(self, bundle: Bundle, entry: ModelEntry, again: Opened | None) -> _Open:
        """A new runtime; others are closed where there is no room beside them."""
        while self._most and len(self._open) >= self._most and self._close_one():
            pass
        while True:
            with ExitStack() as stack:
                try:
                    runtime = stack.enter_context(self._opening(bundle, entry, again))
                except TooLittleMemory:
                    if self._close_one():
                        continue
                    raise
                return _Open(runtime, stack.pop_all())

    def _close_one(self) -> bool:
        """Close the one that was not used for the longest time; False where all are at work."""
        idle = next((name for name, found in self._open.items() if not found.users), None)
        if idle is None:
            return False
        self._open.pop(idle).closing.close()
        log.info("model_closed", model=idle)
        return True


def _require_no_fixture(bundle: Bundle, entry: ModelEntry, is_one: bool) -> None:
    """The numbers of a fixture mean nothing: nobody is to be sent them by mistake."""
    if bundle.manifest.status == "fixture" and not entry.allow_fixture:
        where = "[model]" if is_one else f"[[models]] {entry.name}"
        raise BundleRejected(
            f"bundle {bundle.manifest.name}: a fixture, whose numbers mean nothing; set "
            f"allow_fixture = true in {where} to show how it works, or take another bundle"
        )
