"""A process in which one function raises an error nobody expected, for slides of one container.

    python tests/support/failing.py POINT CONTAINER worker --config node.toml

The error stands for any mistake in the software; the product has no hooks.
"""

from __future__ import annotations

import sys
from typing import Any

from pydicom import dcmread

from dicom_node.cli import main
from dicom_node.results import build
from inference import predict
from inference.types import Prediction

WORDS = "ZZSECRET of a library"


def arm(point: str, container: str) -> None:
    """Make `analyze`, the `objects` of a prediction, or also the `report` of it fail."""
    builder, analyze = build._built, predict.predict

    def builds(making: Any, *may_pass: Any) -> Any:
        is_result = isinstance(making.result, Prediction) or point == "report"
        if is_result and making.source.ContainerIdentifier == container:
            raise AttributeError(WORDS)
        return builder(making, *may_pass)

    def analyzes(paths: Any, *args: Any, **kwargs: Any) -> Any:
        if dcmread(paths[0], stop_before_pixels=True).ContainerIdentifier == container:
            raise ZeroDivisionError(WORDS)
        return analyze(paths, *args, **kwargs)

    if point == "analyze":
        predict.predict = analyzes
    else:
        build._built = builds


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
