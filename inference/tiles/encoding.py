"""All tiles of a slide through the encoder, on as many threads as the engine has lanes.

Each thread cuts a batch into its own memory and runs it; on a CPU every lane is one core that
decodes and infers by turns, on a GPU the threads decode while the device computes. The order of
work is fixed and every value has its place, so that the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import DeviceFailed
from engines.manifest.whole import Manifest
from inference.condition.focus import FOCUS, Focus
from inference.errors import FramesUnreadable, Stopped
from inference.tiles.agreement import MEAN
from inference.tiles.cutter import TileCutter
from inference.tiles.order import Batch, Source, in_order
from inference.tiles.shared_frames import SharedFrames
from inference.tiles.values import TileValues
from inference.types import Progress

Array = NDArray[Any]
_LOOK_EVERY_S = 0.1
"""How often the calling thread reports progress and asks whether to stop."""
_LEAST_IN_A_TURN, _MOST_IN_A_TURN, _MOST_CUT = 4, 8, 64
"""Batches that a lane cuts before it runs them: the more, the fewer lanes there are to hold them. A
core that decodes and infers by turns loses part of what it holds in its caches at each change: 8 %
of its time were measured at one batch a turn, and 1 % between four and eight."""


class Runtime(Protocol):
    """What is asked of engines.runtime.Runtime."""

    @property
    def bundle(self) -> Bundle: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def engine(self) -> str: ...

    @property
    def lanes(self) -> int: ...

    @property
    def batch(self) -> int: ...

    def run(self, graph_name: str, arrays: Mapping[str, Array]) -> dict[str, Array]: ...


class Encoding:
    """One run of the encoder over the sources of a slide."""

    def __init__(
        self,
        sources: Sequence[Source],
        values: Sequence[TileValues],
        runtime: Runtime,
        focus: Focus | None = None,
    ) -> None:
        """`values`: where the outputs of each source go; what is there is not made again. `focus`
        looks at the tiles of the first source, whose values have a place FOCUS for it."""
        self.unreadable: dict[tuple[int, int], FramesUnreadable] = {}
        """Tiles that could not be read, by number of the batch and place in it, and why."""
        manifest = runtime.manifest
        self._input = manifest.graphs["encoder"].inputs[0].name
        self._size = runtime.batch
        self._focus = focus
        self._runtime = runtime
        self._sources, self._values = sources, values
        self._batches = in_order(sources, self._size)
        self._left = len(self._batches)
        few = max(_LEAST_IN_A_TURN, _MOST_CUT // runtime.lanes)
        self._in_a_turn = min(few, _MOST_IN_A_TURN)
        self._total = sum(len(source.cells) for source in sources)
        self._tolerated = int(manifest.input.unreadable_tiles * self._total)
        self._frames = _frames_of(sources)
        self._next: Iterator[Batch] = iter(self._batches)
        self._lock = Lock()
        self._done = self._kept = self._unsaved = 0
        self._save_every = max(1, self._total // (1 + self._batches[-1].band))
        self._halted = self._is_stopped = False
        self._failure: BaseException | None = None
        self._is_sound = True

    def run(self, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        """Encode what is not done yet; `progress` and `stop` are called on this thread.

        Raises Stopped within a batch of the request, FramesUnreadable when more tiles cannot be
        read than the bundle tolerates, and what a lane ended with, the first in time. What was
        done until then is saved, but for what is not yet saved when a lane ends with an error that
        nobody foresaw: nothing is then known of what else went wrong.
        """
        since = monotonic()
        self._take_up()
        with self._lanes() as lanes:
            while not self._halted:
                _, running = wait(lanes, _LOOK_EVERY_S, FIRST_EXCEPTION)
                if not running or self._failure is not None:
                    break
                progress(self._progress(monotonic() - since))
                if stop():
                    self._is_stopped = True
                    raise Stopped(f"stopped after {self._done} of {self._total} tiles")
        if self._failure is not None:
            raise self._failure
        if len(self.unreadable) > self._tolerated:
            raise self.first_fault()
        progress(self._progress(monotonic() - since))

    def first_fault(self) -> FramesUnreadable:
        """Of the tiles that could not be read, the first in the order of work."""
        return self.unreadable[min(self.unreadable)]

    def readable(self, source: int) -> NDArray[np.bool_]:
        """[N] of a source: whether the pixels of each tile could be read."""
        mask = np.ones(len(self._sources[source].cells), np.bool_)
        for number, place in self.unreadable:
            batch = self._batches[number]
            if batch.source == source:
                mask[batch.tiles[place]] = False
        return mask

    @contextmanager
    def _lanes(self) -> Iterator[list[Future[None]]]:
        """Threads at work; when they are left, none works any more and what is sound is saved."""
        lanes = self._runtime.lanes
        try:
            with ThreadPoolExecutor(lanes, "lane") as pool:
                try:
                    yield [pool.submit(self._work) for _ in range(lanes)]
                finally:
                    self._halted = True
        finally:
            for values in self._values:
                self._save(values)

    def _work(self) -> None:
        """One lane; whatever it ends with halts the others at their next batch."""
        try:
            self._encode()
        except BaseException as error:
            with self._lock:
                self._halted = True
                self._failure = error if self._failure is None else self._failure
                self._is_sound = self._is_sound and isinstance(error, DeviceFailed)
            raise

    def _encode(self) -> None:
        """What a lane does: batch after batch until there is none, or the run is halted.

        A batch once taken is finished unless someone stops the run, so that of several frames
        that cannot be read always the first one is found.
        """
        cutters = [
            TileCutter(self._sources, self._frames, self._size) for _ in range(self._in_a_turn)
        ]
        while not self._halted and (batches := self._take()):
            cut = [cutter.cut(batch) for cutter, batch in zip(cutters, batches, strict=False)]
            for cutter, batch, (pixels, faults) in zip(cutters, batches, cut, strict=False):
                outputs = self._runtime.run("encoder", {self._input: pixels})
                outputs[MEAN] = cutter.means(batch)
                if self._focus is not None and batch.source == 0:
                    outputs[FOCUS] = self._focus.look(batch.tiles, pixels)
                self._values[batch.source].put(batch, outputs, list(faults))
                self._note(batch, faults)
                if self._is_stopped:
                    return

    def _take(self) -> list[Batch]:
        """The batches of a lane's next turn: few at the end, so that no lane works long alone."""
        with self._lock:
            fair = self._left // (2 * self._runtime.lanes)
            batches = list(islice(self._next, min(max(1, fair), self._in_a_turn)))
            self._left -= len(batches)
            return batches

    def _note(self, batch: Batch, faults: Mapping[int, FramesUnreadable]) -> None:
        with self._lock:
            self._done += len(batch.tiles)
            self._unsaved += len(batch.tiles)
            is_time = self._unsaved >= self._save_every
            if is_time:
                self._unsaved = 0
            self.unreadable |= {(batch.number, place): f for place, f in faults.items()}
            if len(self.unreadable) > self._tolerated:
                self._halted = True
        if is_time:
            self._save(self._values[batch.source])

    def _save(self, values: TileValues) -> None:
        if self._is_sound:
            values.save()

    def _take_up(self) -> None:
        """Leave out the batches whose values an earlier run has left."""
        todo = []
        cutter = TileCutter(self._sources, self._frames, 1)
        for batch in self._batches:
            if self._values[batch.source].has(batch):
                cutter.skip(batch)
                self._kept += len(batch.tiles)
            else:
                todo.append(batch)
        self._done = self._kept
        self._next = iter(todo)
        self._left = len(todo)

    def _progress(self, elapsed_s: float) -> Progress:
        return Progress(self._done, self._total, elapsed_s, self._kept)


def _frames_of(sources: Sequence[Source]) -> dict[int, SharedFrames]:
    """The frames of each source, shared by those that read the same level."""
    found: dict[int, SharedFrames] = {}
    for n, source in enumerate(sources):
        same = (m for m in found if sources[m].level is source.level)
        shared = next(same, None)
        members = [s for s in sources if s.level is source.level]
        found[n] = SharedFrames(source.level, members) if shared is None else found[shared]
    return found
