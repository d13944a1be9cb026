"""Random histories of changes and retries: has any UID two contents?

python tests/long/identities.py [N] [FIRST_SEED]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import structlog
from identities import run


def main() -> int:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began, wrong, uids, builds, retries = time.monotonic(), list[str](), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(range(first, first + total), start=1):
            history = run(Path(folder) / str(seed), seed)
            for line in history.wrong:
                print(line, flush=True)
            wrong += history.wrong
            uids, builds = uids + len(history.pacs.contents), builds + history.builds
            retries += history.retries
            if number % 25 == 0 or number == total:
                spent = time.monotonic() - began
                told = f"{builds} sets of objects, {retries} retries, {uids} UIDs at the PACS"
                print(
                    f"{number} histories in {spent:.0f} s: {told}; {len(wrong)} wrong", flush=True
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
