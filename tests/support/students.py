"""The tiny student of `bundles` on an engine, changed as a test wants it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundles import manifest, write_bundle, write_sums

from engines.bundle import open_bundle
from engines.runtime import EngineName, Runtime, open_runtime

Change = Callable[[dict[str, Any]], None]


def tiny_bundle(folder: Path, change: Change | None = None) -> Path:
    """Its folder: features are mean colors, tumor is the red channel."""
    root = write_bundle(folder)
    values = manifest()
    if change:
        change(values)
    (root / "manifest.json").write_text(json.dumps(values))
    write_sums(root)
    return root


@contextmanager
def student(
    folder: Path,
    change: Change | None = None,
    *,
    engine: EngineName = "onnxruntime",
    threads: int = 0,
) -> Iterator[Runtime]:
    """The tiny student, running."""
    bundle = open_bundle(tiny_bundle(folder, change))
    with open_runtime(bundle, engine=engine, threads=threads) as runtime:
        yield runtime
