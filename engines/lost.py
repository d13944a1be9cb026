"""Which errors of CUDA leave a process without its device, and who says so.

Numbers of `cudaError_t`, the same in the driver API. Those of the first group are documented, in
the CUDA Runtime API 13 and in the docstrings of cuda-bindings 13.5, as leaving the process unable
to use CUDA until it is "terminated and relaunched"; a test reads them there.
"""

from __future__ import annotations

import re

_RELAUNCH = frozenset(
    {
        226,  # cudaErrorContained
        700,  # cudaErrorIllegalAddress
        702,  # cudaErrorLaunchTimeout
        710,  # cudaErrorAssert
        714,  # cudaErrorHardwareStackError
        715,  # cudaErrorIllegalInstruction
        716,  # cudaErrorMisalignedAddress
        717,  # cudaErrorInvalidAddressSpace
        718,  # cudaErrorInvalidPc
        719,  # cudaErrorLaunchFailure
        721,  # cudaErrorTensorMemoryLeak
        810,  # cudaErrorMpsClientTerminated
        911,  # cudaErrorExternalDevice
    }
)
_GONE = frozenset(
    {
        4,  # cudaErrorCudartUnloading: the driver is shutting down
        46,  # cudaErrorDevicesUnavailable: busy or unavailable, after one was there
        100,  # cudaErrorNoDevice: fallen off the bus (the driver's Xid 79)
        101,  # cudaErrorInvalidDevice: the number that worked before
        201,  # cudaErrorDeviceUninitialized: no valid context any more
        214,  # cudaErrorECCUncorrectable
        220,  # cudaErrorNvlinkUncorrectable
        709,  # cudaErrorContextIsDestroyed
        999,  # cudaErrorUnknown: what a device that was reset answers
    }
)
"""Not documented so, and no call is known to succeed after them: a new process asks again."""
_SAID = re.compile(r"CUDA (?:failure|error)[ :]+(\d+)")
"""As in ONNX Runtime's `CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; ...`
(its issues 5295 and 26312)."""


def is_lost(status: int) -> bool:
    """Whether nothing of CUDA works in this process after an error of that number."""
    return status in _RELAUNCH or status in _GONE


def lost_by_text(text: str) -> int | None:
    """The number of such an error in what a library says; None where it says none."""
    return next((n for n in map(int, _SAID.findall(text)) if is_lost(n)), None)
