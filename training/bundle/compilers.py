"""What GPU compilers say of a bundle's graphs: for whoever made them, and in the manifest."""

from __future__ import annotations

import json
from pathlib import Path

from engines.bundle import MANIFEST_FILE, open_bundle
from engines.errors import EngineMissing
from engines.manifest.claims import Compiler
from engines.manifest.reading import newest
from engines.tensorrt.gate import CAPABILITIES, Verdict, verdicts
from engines.tensorrt.libraries import TENSORRT_RTX, spelled
from training.learning.graphs import write_manifest, write_sums


def ask_compilers(root: Path) -> str:
    """Has the manifest state who takes the graphs; lines for people, refusals with their reasons.

    Where no compiler is installed the manifest stays as it is.
    """
    try:
        release = TENSORRT_RTX.load().__version__
        found = verdicts(open_bundle(root))
    except EngineMissing as missing:
        return f"compilers: not asked: {missing}"
    content = newest(json.loads((root / MANIFEST_FILE).read_text(encoding="utf-8")))
    content["compilers"] = [
        Compiler(
            library=TENSORRT_RTX.name, version=release, capability=v.capability, file=v.file
        ).model_dump()
        for v in found
        if not v.refusal
    ]
    write_manifest(content, root)
    write_sums(root)
    return told(found, f"{TENSORRT_RTX.name} {release}")


def told(found: list[Verdict], asked: str) -> str:
    """The verdicts for people."""
    refused = [verdict for verdict in found if verdict.refusal]
    kinds = ", ".join(map(spelled, CAPABILITIES))
    if not refused:
        files = len({verdict.file for verdict in found})
        return f"compilers: {asked} builds all {files} graphs for {kinds}"
    return "\n".join(
        [f"compilers: {len(refused)} of {len(found)} plans are refused", *map(str, refused)]
    )
