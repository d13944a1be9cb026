"""A worker that waits before it writes a result object, so that something can be done to it then.

python tests/long/lingering.py SECONDS worker --config node.toml
"""

from __future__ import annotations

import sys
import time
from typing import Any

from dicom_node.cli import main
from dicom_node.work import outputs

SIGN = "about to write a result"

if __name__ == "__main__":
    original = outputs.write_built
    seconds = float(sys.argv[1])

    def late(*arguments: Any, **named: Any) -> Any:
        sys.stderr.write(f"{SIGN}\n")
        sys.stderr.flush()
        time.sleep(seconds)
        return original(*arguments, **named)

    setattr(outputs, "write_built", late)  # noqa: B010  # a plain assignment is refused by mypy
    sys.exit(main(sys.argv[2:]))
