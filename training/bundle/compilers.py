"""What GPU compilers say of a bundle's graphs, for whoever made them."""

from __future__ import annotations

from pathlib import Path

from engines.bundle import open_bundle
from engines.errors import EngineMissing
from engines.tensorrt.gate import CAPABILITIES, compiler, verdicts
from engines.tensorrt.libraries import spelled


def said_of(root: Path) -> str:
    """Lines for people: that every graph builds, or each that does not, with node and reason."""
    try:
        asked = compiler()
    except EngineMissing as missing:
        return f"compilers: not asked: {missing}"
    found = verdicts(open_bundle(root))
    refused = [verdict for verdict in found if verdict.refusal]
    kinds = ", ".join(map(spelled, CAPABILITIES))
    if not refused:
        files = len({verdict.file for verdict in found})
        return f"compilers: {asked} builds all {files} graphs for {kinds}"
    return "\n".join(
        [f"compilers: {len(refused)} of {len(found)} plans are refused", *map(str, refused)]
    )
