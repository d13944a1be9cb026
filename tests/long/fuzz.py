"""Many mutants of slides, by hand, with a log of every one.

    python tests/long/fuzz.py --mutants 50000 --log FILE [--processes 2]
    python tests/long/fuzz.py --only NUMBER [--keep FOLDER]

A log that is there is gone on with: numbers in it are not run again. Each line is one mutant as
JSON; those that failed have `faults`, and what was said. It exits with 1 where any failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from fuzz_process import FuzzProcess
from fuzzing import FAMILIES, Verdict
from mutants import make

_SAY_EVERY_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutants", type=int, default=50_000)
    parser.add_argument("--start", type=int, default=0, help="the first number")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, default=Path("build/fuzz.log"))
    parser.add_argument(
        "--objects-every", type=int, default=5, help="of how many mutants one has objects built"
    )
    parser.add_argument("--only", type=int, help="one mutant, shown")
    parser.add_argument("--keep", type=Path, help="with --only: where its files go")
    arguments = parser.parse_args()
    if arguments.only is not None:
        return _show(arguments.only, arguments.keep)
    return _hunt(arguments)


def _show(number: int, keep: Path | None) -> int:
    """One mutant: its steps, its verdict, and, if wanted, its files."""
    if keep is not None:
        make(number, FAMILIES).save(keep)
    with tempfile.TemporaryDirectory() as folder, FuzzProcess(Path(folder)) as process:
        verdict = process.verdict(number)
    print(json.dumps(json.loads(verdict.line()) | {"said": verdict.said}, indent=2))
    return 1 if verdict.faults else 0


def _hunt(arguments: argparse.Namespace) -> int:
    done = _done(arguments.log)
    wanted = range(arguments.start, arguments.start + arguments.mutants)
    numbers = iter([n for n in wanted if n not in done])
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    with arguments.log.open("a") as log, tempfile.TemporaryDirectory() as folder:
        hunt = _Hunt(numbers, log, arguments.objects_every)
        threads = [
            threading.Thread(target=hunt.work, args=(Path(folder) / str(n),))
            for n in range(arguments.processes)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(_SAY_EVERY_S)
            hunt.say()
        for thread in threads:
            thread.join()
    hunt.say()
    failed = [line for line in _lines(arguments.log) if line["faults"]]
    for line in failed:
        print(f"{line['number']}: {'; '.join(line['steps'])}: {'; '.join(line['faults'])}")
    print(f"{len(failed)} of {len(_done(arguments.log))} mutants failed; {arguments.log}")
    return 1 if failed else 0


class _Hunt:
    """What the threads share: the numbers to run, and the log."""

    def __init__(self, numbers: Iterator[int], log: object, objects_every: int) -> None:
        self._numbers, self._log, self._objects_every = numbers, log, objects_every
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._started = time.monotonic()

    def work(self, folder: Path) -> None:
        """Run mutants until there are no more."""
        with FuzzProcess(folder, objects_every=self._objects_every) as process:
            while (number := self._next()) is not None:
                self._note(process.verdict(number))

    def say(self) -> None:
        """How far it is."""
        with self._lock:
            count = sum(self._seen.values()) - self._seen["failed"]
            spent = time.monotonic() - self._started
            print(f"{count} in {spent:.0f} s: {dict(self._seen)}", flush=True)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _note(self, verdict: Verdict) -> None:
        with self._lock:
            self._seen[verdict.outcome] += 1
            self._seen["failed"] += bool(verdict.faults)
            print(verdict.line(), file=self._log, flush=True)  # type: ignore[arg-type]


def _lines(log: Path) -> Iterator[dict[str, object]]:
    """The verdicts of a log; a line that a kill cut off is left out."""
    if log.is_file():
        for line in log.read_text().splitlines():
            if line.endswith("}"):
                yield json.loads(line)


def _done(log: Path) -> set[object]:
    return {line["number"] for line in _lines(log)}


if __name__ == "__main__":
    sys.exit(main())
