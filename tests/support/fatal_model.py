"""A worker whose model of one bundle ends it, or hangs, as soon as it runs on a slide.

python tests/support/fatal_model.py dies|hangs BUNDLE worker --config node.toml
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any

from dicom_node.cli import main
from engines.runtime import Runtime
from inference import predict


def arm(how: str, bundle: str) -> None:
    """`bundle` is its name in the manifest."""
    works = predict.predict

    def fatal(paths: Any, runtime: Runtime, **more: Any) -> Any:
        if runtime.manifest.name == bundle:
            if how == "hangs":
                threading.Event().wait()
            ctypes.string_at(0)
        return works(paths, runtime, **more)

    setattr(predict, "predict", fatal)  # noqa: B010  # a plain assignment is refused by mypy


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
