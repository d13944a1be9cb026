"""How a bundle or an engine says no; to catch it loads no runtime.

Exception
├── BundleRejected   the bundle is not what it claims to be; nothing runs
├── EngineMissing    the engine asked for by name cannot be had here
└── DeviceFailed     the engine broke while running; the study is tried again
"""

from __future__ import annotations


class BundleRejected(Exception):
    """A bundle is not what it claims to be; the message names the file and the reason."""


class EngineMissing(Exception):
    """The engine asked for by name cannot be had here."""


class DeviceFailed(Exception):
    """The engine broke while running; the cause may pass, so the study is tried again."""
