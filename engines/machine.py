"""What this machine offers an engine: cores and memory, as the kernel allows."""

from __future__ import annotations

import os
from pathlib import Path

from engines.bundle import Bundle
from engines.errors import TooLittleMemory

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_MB = 1024 * 1024

_ENGINE_BYTES = 128 * _MB
"""An engine's libraries and own buffers: 110 MB with OpenVINO 2026.4.1 and the default student."""
_GRAPH_COPIES = 4
"""Times a graph file is in memory while it is compiled: read, parsed, rewritten, packed."""
_BYTES_PER_PIXEL = 64
"""Activations of one tile per pixel: 64 channels at half the side in fp32 (ResNets); the default
student takes 28."""


def cores(cgroup: Path = _CGROUP) -> int:
    """CPU cores this process may use: its affinity and, in a container, its CPU quota."""
    allowed = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def available_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that can still be had without swapping; None where the system does not tell."""
    found: list[int] = []
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used) + _reclaimable(cgroup))
    return min(found, default=None)


def need_of(bundle: Bundle, file: str, lanes: int) -> int:
    """Bytes that opening a bundle takes at most, its encoder from `file`, on so many lanes."""
    tiles = bundle.manifest.input
    aggregator = bundle.manifest.graphs.get("aggregator")  # an encoder alone has none
    files = {file} if aggregator is None else {file, aggregator.file}
    graphs = sum(bundle.file(name).stat().st_size for name in files)
    activations = lanes * tiles.batch * tiles.tile_px**2 * _BYTES_PER_PIXEL
    return _ENGINE_BYTES + _GRAPH_COPIES * graphs + activations


def require_memory(need: int, available: int | None) -> None:
    """Raises TooLittleMemory where less memory than needed is free: the kernel would kill the node
    in the middle of a study."""
    if available is not None and available < need:
        raise TooLittleMemory(
            f"too little memory: the engine needs about {need // _MB} MB, {available // _MB} MB "
            "are free; free some, give the node more, or lower model.threads"
        )


def _reclaimable(cgroup: Path) -> int:
    """Page cache is counted as used but is given back when memory is asked for."""
    for line in _read(cgroup / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _read(path: Path) -> str:
    """Text of a file of the kernel; empty where there is none (no cgroup, another system)."""
    try:
        return path.read_text()
    except OSError:
        return ""
