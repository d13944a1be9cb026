"""A worker that takes a second for every batch of tiles.

python tests/support/slow.py worker --config node.toml
"""

from __future__ import annotations

import sys
import time
from typing import Any

from dicom_node.cli import main
from engines.runtime import Runtime

_run = Runtime.run


def slowly(self: Runtime, *arguments: Any) -> Any:
    time.sleep(1.0)
    return _run(self, *arguments)


if __name__ == "__main__":
    setattr(Runtime, "run", slowly)  # noqa: B010  # a plain assignment is refused by mypy
    sys.exit(main(sys.argv[1:]))
