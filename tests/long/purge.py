"""Random histories: is anything removed that is not proven?

python tests/long/purge.py [--histories 10000] [--seed 1] [--folder /dev/shm]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import structlog
from histories import run

_TELL_EVERY, _MOST_TOLD = 100, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began, told = time.monotonic(), list[str]()

    def tell(number: int, wrong: list[str], removed: Counter[str]) -> None:
        for line in wrong[len(told) : len(told) + _MOST_TOLD]:
            print(line, flush=True)
        told.extend(wrong[len(told) :])
        if number % _TELL_EVERY == 0 or number >= asked.histories:
            print(f"{number} histories in {time.monotonic() - began:.0f} s: gave up "
                  f"{removed['spool']} received files, {removed['results']} objects and the rows "
                  f"of {removed['rows']} studies; {len(wrong)} wrong", flush=True)  # fmt: skip

    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        wrong, _ = run(Path(name), histories=asked.histories, seed=asked.seed, tell=tell)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
