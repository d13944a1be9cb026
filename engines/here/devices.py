"""The CPU and the GPU of this host, by what would change their numbers or their speed.

A GPU is asked of the driver itself (CUDA driver API, `libcuda.so.1`): that needs no package, makes
no context and takes no memory of the device. It has not been run with a driver.
"""

from __future__ import annotations

import ctypes
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from engines.errors import EngineMissing
from engines.tensorrt.libraries import Capability, spelled

_CPUINFO = Path("/proc/cpuinfo")
_DRIVER = Path("/sys/module/nvidia/version")
_FAST = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8",
         "asimddp", "i8mm", "bf16")  # fmt: skip
"""Instructions that decide which precision is fastest, as the kernel names them. Virtual machines
hide some of those that the model's name promises."""
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
_NUMBER = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
_NEXT = r"(?:\s*[,;/]\s*(?:and\s+)?|\s+and\s+)"
_NUMBERS = re.compile(rf"{_NUMBER.pattern}(?:{_NEXT}{_NUMBER.pattern})*")
_SAID = re.compile(rf"(?i:\bcompute\s+capabilit(?:y|ies)|\bsm)[\s_:=-]*({_NUMBERS.pattern})")
_SM = re.compile(r"(?i:\bsm)[\s_]*(\d{1,2})(\d)[af]?(?![\w.])")
"""sm89, sm_90a, sm_120: the last digit is the minor one."""


@dataclass(frozen=True, slots=True)
class Device:
    """What computes, and by what software of the system."""

    name: str
    """A CPU's model with the instructions that count; a GPU's name and its UUID."""
    driver: str = ""
    """Release of a GPU's driver; empty for a CPU."""
    capability: Capability | None = None
    """Compute capability of a GPU."""

    def __str__(self) -> str:
        kind = f", compute capability {spelled(self.capability)}" if self.capability else ""
        return f"{self.name}{kind}" + (f", driver {self.driver}" if self.driver else "")


def cpu(cpuinfo: Path = _CPUINFO) -> Device:
    """The CPU. Its number of cores is left out: it changes speeds, and hardly their order."""
    fields: dict[str, str] = {}
    for line in _text(cpuinfo).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    model = fields.get("model name") or fields.get("cpu part") or "unknown CPU"
    has = set((fields.get("flags") or fields.get("features") or "").split())
    fast = " ".join(flag for flag in _FAST if flag in has)
    return Device(f"{model} ({fast or 'no fast instructions'})")


def gpu(driver: Path = _DRIVER) -> Device:
    """Device 0 of CUDA. Raises EngineMissing without a driver or a device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineMissing("no NVIDIA driver is installed here") from error
    _done(cuda.cuInit(0), "the NVIDIA driver does not start")
    count = ctypes.c_int()
    _done(cuda.cuDeviceGetCount(ctypes.byref(count)), "the NVIDIA driver counts no devices")
    if not count.value:
        raise EngineMissing("the NVIDIA driver finds no GPU")
    device = ctypes.c_int()
    _done(cuda.cuDeviceGet(ctypes.byref(device), 0), "the GPU cannot be asked")
    name, key, version = ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)(), ctypes.c_int()
    _done(cuda.cuDeviceGetName(name, len(name), device), "the GPU does not tell its name")
    _done(cuda.cuDeviceGetUuid(key, device), "the GPU does not tell its UUID")
    _done(cuda.cuDriverGetVersion(ctypes.byref(version)), "the driver does not tell its version")
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        _done(
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device),
            "the GPU does not tell its compute capability",
        )
        numbers.append(value.value)
    release = _text(driver).strip() or f"for CUDA {version.value // 1000}"
    return Device(
        f"{name.value.decode(errors='replace')} {uuid.UUID(bytes=bytes(key))}",
        release,
        (numbers[0], numbers[1]),
    )


def is_of_family(hardware: str, capability: Capability) -> bool:
    """Whether what a manifest says a cost was measured on names this family of cards.

    A family is what shares a compute capability: others are compiled to other kernels. It is a
    number or a list of them after these words or after "sm", or the whole text; any other number
    may be a release.
    """
    text = hardware.strip()
    lists = [text] if _NUMBERS.fullmatch(text) else _SAID.findall(text)
    said = {number for numbers in lists for number in _NUMBER.findall(numbers)}
    said |= {f"{major}.{minor}" for major, minor in _SM.findall(text)}
    return spelled(capability) in said


def _done(status: int, what: str) -> None:
    if status:
        raise EngineMissing(f"{what} (CUDA driver error {status})")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
