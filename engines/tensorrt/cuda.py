"""CUDA memory, streams, events and graphs through `cuda.bindings.runtime`, as few as are needed.

Every call's status is looked at; one that is not success is DeviceFailed. This module has not been
run on a GPU: its calls are checked against the signatures of cuda-bindings 13.5.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engines.errors import DeviceFailed, DeviceLost, EngineMissing
from engines.lost import is_lost


def load_cuda(engine: str) -> Any:
    """The module `cuda.bindings.runtime`; EngineMissing without it or without a GPU."""
    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise EngineMissing(
            f"engine '{engine}': the package cuda-bindings is not installed; pip install "
            f"'dicom-node[{engine}]'"
        ) from error
    status, count = cuda.cudaGetDeviceCount()
    if status != cuda.cudaError_t.cudaSuccess or not count:
        raise EngineMissing(f"engine '{engine}': no CUDA device found ({status.name})")
    return cuda


def call(cuda: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a CUDA function returns behind its status. Raises DeviceFailed, or DeviceLost where no
    later call of this process can succeed."""
    status, *results = function(*arguments)
    if status != cuda.cudaError_t.cudaSuccess:
        _, text = cuda.cudaGetErrorString(status)
        kind = DeviceLost if is_lost(int(status)) else DeviceFailed
        raise kind(f"{function.__name__}: {status.name}: {text.decode()}")
    return results[0] if results else None


def device_capability(cuda: Any) -> tuple[int, int]:
    """Compute capability of device 0."""
    attributes = cuda.cudaDeviceAttr
    major = attributes.cudaDevAttrComputeCapabilityMajor
    minor = attributes.cudaDevAttrComputeCapabilityMinor
    return (
        call(cuda, cuda.cudaDeviceGetAttribute, major, 0),
        call(cuda, cuda.cudaDeviceGetAttribute, minor, 0),
    )


def new_stream(cuda: Any, owner: ExitStack) -> Any:
    """A stream that does not wait for the default one; it lives as long as `owner`."""
    stream = call(cuda, cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
    owner.callback(cuda.cudaStreamDestroy, stream)
    return stream


def new_event(cuda: Any, owner: ExitStack) -> Any:
    """An event that keeps no time; it lives as long as `owner`."""
    event = call(cuda, cuda.cudaEventCreateWithFlags, cuda.cudaEventDisableTiming)
    owner.callback(cuda.cudaEventDestroy, event)
    return event


def device_bytes(cuda: Any, owner: ExitStack, size: int) -> int:
    """Address of `size` bytes on the device, which live as long as `owner`."""
    address = call(cuda, cuda.cudaMalloc, size)
    owner.callback(cuda.cudaFree, address)
    return int(address)


def pinned_array(
    cuda: Any, owner: ExitStack, shape: Sequence[int], dtype: DTypeLike
) -> NDArray[Any]:
    """An array in page-locked memory, which a copy needs to overlap; not to be used after `owner`
    is closed."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    address = call(cuda, cuda.cudaMallocHost, size)
    owner.callback(cuda.cudaFreeHost, address)
    memory = (ctypes.c_uint8 * size).from_address(int(address))
    array: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
    return array


def to_device(cuda: Any, address: int, array: NDArray[Any], stream: Any) -> None:
    """Queue the copy of a C-contiguous array, which must stay as it is until it is done."""
    kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
    call(cuda, cuda.cudaMemcpyAsync, address, array.ctypes.data, array.nbytes, kind, stream)


def to_host(cuda: Any, array: NDArray[Any], address: int, stream: Any) -> None:
    """Queue the copy into a C-contiguous array, which must not be read until it is done."""
    kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
    call(cuda, cuda.cudaMemcpyAsync, array.ctypes.data, address, array.nbytes, kind, stream)


def captured(cuda: Any, owner: ExitStack, stream: Any, enqueue: Callable[[], None]) -> Any:
    """What `enqueue` puts on the stream, as a graph that is launched in one call."""
    # Other threads of the node must not be disturbed by, or break, the capture.
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    call(cuda, cuda.cudaStreamBeginCapture, stream, mode)
    enqueue()
    graph = call(cuda, cuda.cudaStreamEndCapture, stream)
    owner.callback(cuda.cudaGraphDestroy, graph)
    executable = call(cuda, cuda.cudaGraphInstantiate, graph, 0)
    owner.callback(cuda.cudaGraphExecDestroy, executable)
    return executable
