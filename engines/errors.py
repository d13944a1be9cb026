"""How a bundle or an engine says no; to catch it loads no runtime.

Exception
├── BundleRejected   the bundle is not what it claims to be; nothing runs
├── EngineMissing    the engine asked for by name cannot be had here
│   └── TooLittleMemory   less memory is free than it needs
└── DeviceFailed     the engine broke while running; the study is tried again
    └── DeviceLost   and this process cannot use the device any more
"""

from __future__ import annotations

from engines.lost import lost_by_text


class BundleRejected(Exception):
    """A bundle is not what it claims to be; the message names the file and the reason."""


class EngineMissing(Exception):
    """The engine asked for by name cannot be had here."""


class TooLittleMemory(EngineMissing):
    """Less memory is free than the engine needs."""


class DeviceFailed(Exception):
    """The engine broke while running; the cause may pass, so the study is tried again.

    The message is ours and goes into logs and a database; a library's own is its `__cause__`.
    """


class DeviceLost(DeviceFailed):
    """The device, or this process's context on it, is gone: nothing works in this process again."""


_MEMORY = ("out of memory", "bad_alloc", "allocat", "not enough memory")


def device_failed(description: str, error: Exception) -> DeviceFailed:
    """What a runtime's error means, in words of ours: its text may quote what it computed."""
    lost = lost_by_text(str(error))
    if lost is not None:
        return DeviceLost(f"{description}: the GPU is lost to this process (CUDA error {lost})")
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _MEMORY):
        return DeviceFailed(f"{description}: too little memory to run the graph")
    return DeviceFailed(f"{description}: the graph could not be run ({type(error).__name__})")
