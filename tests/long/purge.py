"""Random histories: is anything removed that is not proven?

python tests/long/purge.py [--histories 10000] [--seed 1] [--folder /dev/shm]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import structlog
from histories import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        wrong, removed = run(Path(name), histories=asked.histories, seed=asked.seed)
    for line in wrong[:20]:
        print(line)
    print(f"{asked.histories} histories in {time.monotonic() - began:.0f} s: removed "
          f"{removed['spool']} received files and {removed['results']} objects, "
          f"{len(wrong)} of them unproven")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
