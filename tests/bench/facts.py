"""The machine, and numbers with their spread, for tables that can be compared later."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line: date, processor, cores, memory, versions, load."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line
    )
    flags = next(line for line in info.splitlines() if line.startswith("flags")).split()
    special = [f for f in ("avx512_vnni", "avx512_bf16", "amx_int8") if f in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    packages = ", ".join(f"{p} {version(p)}" for p in ("openvino", "onnxruntime", "wsidicom"))
    return (
        f"{date.today()}, {os.cpu_count()} cores ({model}; {' '.join(special)}), {memory:.0f} GB, "
        f"Linux {platform.release()}, Python {sys.version.split()[0]}, {packages}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and least to most."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
