"""Several bundles open at once, as a node with several students has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime


@contextmanager
def all_open(bundles: Mapping[str, Path]) -> Iterator[dict[str, Runtime]]:
    """Their runtimes by the same names, on ONNX Runtime."""
    with ExitStack() as opened:
        yield {
            name: opened.enter_context(open_runtime(open_bundle(root), engine="onnxruntime"))
            for name, root in bundles.items()
        }
