"""Work in processes of its own, each piece by itself."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from training.errors import TrainingError

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def each(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    jobs: int,
    failed: Callable[[Piece, BaseException], None],
) -> Iterator[tuple[Piece, Result]]:
    """Pieces and their results as they are done, in at most `jobs` processes.

    The first piece that fails ends the others: `failed` is told, and its error is raised.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(jobs, max(len(pieces), 1)), mp_context=context) as pool:
        waiting = {pool.submit(work, piece): piece for piece in pieces}
        for future in as_completed(waiting):
            piece = waiting[future]
            error = future.exception()
            if error is not None:
                failed(piece, error)
                pool.shutdown(wait=False, cancel_futures=True)
                # Leaving the pool waits for the pieces that run, for hours where they are long;
                # they go on from what they kept when the run is started again.
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise TrainingError(
                    "found that a process of this command ended without a word, as one that the "
                    "system ends for its memory; give the command again, with fewer --jobs: it "
                    "goes on from what is finished"
                ) from error
            yield piece, future.result()
