"""A process of the node beside whose work a thread of a library waits for ever.

    python tests/support/lingering.py worker --config node.toml

The thread stands for any that a library leaves behind, as the workflow library's that waits for a
database that is closed.
"""

from __future__ import annotations

import sys
import threading

from dicom_node.cli import main

if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait, name="left-behind").start()
    sys.exit(main(sys.argv[1:]))
