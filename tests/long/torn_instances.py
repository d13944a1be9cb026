"""Mutated instances sent to a node that runs: no child dies, nobody else waits.

    python tests/long/torn_instances.py [N] [--first NUMBER]

Every mutant is a function of its number and a study of its own: `1 --first 17` sends one again.
Exit status 1 when a child died, another sender waited too long, or the receiver took too much
memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

from torn_node import hunt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = hunt(arguments.first, arguments.count, Path(folder))
    print(seen.told())
    print(*seen.faults or ["no fault"], sep="\n")
    return 1 if seen.faults else 0


if __name__ == "__main__":
    sys.exit(main())
