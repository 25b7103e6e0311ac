# SPDX-License-Identifier: Apache-2.0
"""CUDA driver error numbers: names, what they mean in practice, and which of them end the process.

The numbers are part of the driver's binary interface and never change. Having them here makes an error readable even
where the bindings know fewer names than the driver, and without a driver at all.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """One error number.

    Attributes:
        name: symbolic name without ``CUDA_ERROR_``.
        text: what it means.
        remedy: what to do; empty where only the context tells.
    """

    name: str
    text: str
    remedy: str = ""


SUCCESS = 0
INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NO_DEVICE = 100
INVALID_HANDLE = 400
NOT_READY = 600
ILLEGAL_ADDRESS = 700
ALREADY_REGISTERED = 712
LAUNCH_FAILED = 719
NOT_SUPPORTED = 801
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901

_DRIVER = "install or repair the NVIDIA driver"
_RESTART = "edged starts a new process; if it happens again, look for Xid lines in the kernel log"
_BUG = "please report this with the log"

MEANINGS: dict[int, Meaning] = {
    1: Meaning("INVALID_VALUE", "an argument is out of its range", _BUG),
    2: Meaning(
        "OUT_OF_MEMORY",
        "no memory left, on the device or to page-lock",
        "lower engine.max_batch or engine.slots, or end other programs on this GPU",
    ),
    3: Meaning("NOT_INITIALIZED", "the driver was not initialised", _BUG),
    4: Meaning("DEINITIALIZED", "the driver is shutting down"),
    34: Meaning("STUB_LIBRARY", "libcuda is the toolkit's stub, not the driver", _DRIVER),
    36: Meaning("CALL_REQUIRES_NEWER_DRIVER", "the driver is too old for this call", "update the NVIDIA driver"),
    46: Meaning("DEVICE_UNAVAILABLE", "the device is busy or in exclusive mode", "end the program that holds it"),
    100: Meaning("NO_DEVICE", "the driver sees no GPU", "look at nvidia-smi and CUDA_VISIBLE_DEVICES"),
    101: Meaning("INVALID_DEVICE", "there is no GPU of this number", "set engine.device to one that exists"),
    102: Meaning("DEVICE_NOT_LICENSED", "this GPU has no licence for compute"),
    200: Meaning("INVALID_IMAGE", "the kernel image is broken"),
    201: Meaning("INVALID_CONTEXT", "no usable context in this thread", _BUG),
    202: Meaning("CONTEXT_ALREADY_CURRENT", "the context was current already", _BUG),
    205: Meaning("MAP_FAILED", "memory could not be mapped"),
    206: Meaning("UNMAP_FAILED", "memory could not be unmapped"),
    209: Meaning("NO_BINARY_FOR_GPU", "no kernel for this GPU's architecture", "rebuild the engine on this device"),
    214: Meaning("ECC_UNCORRECTABLE", "the GPU's memory has an error that ECC cannot correct", _RESTART),
    220: Meaning("NVLINK_UNCORRECTABLE", "NVLink reported an error that it cannot correct", _RESTART),
    226: Meaning("CONTAINED", "a memory error was contained, but this process cannot go on", _RESTART),
    304: Meaning("OPERATING_SYSTEM", "a system call failed, often the limit for locked memory", "raise RLIMIT_MEMLOCK"),
    400: Meaning("INVALID_HANDLE", "the object was never made, or is destroyed", _BUG),
    401: Meaning("ILLEGAL_STATE", "the object is not in the state that the call needs", _BUG),
    500: Meaning("NOT_FOUND", "a named symbol does not exist"),
    600: Meaning("NOT_READY", "work is still in progress"),
    700: Meaning("ILLEGAL_ADDRESS", "a kernel or copy touched memory that is not mapped", _RESTART),
    701: Meaning("LAUNCH_OUT_OF_RESOURCES", "a kernel needs more registers or threads than the GPU has"),
    702: Meaning("LAUNCH_TIMEOUT", "a kernel ran longer than the system allows", _RESTART),
    709: Meaning("CONTEXT_IS_DESTROYED", "the context was destroyed", _RESTART),
    710: Meaning("ASSERT", "an assertion failed in a kernel", _RESTART),
    712: Meaning("HOST_MEMORY_ALREADY_REGISTERED", "this memory is page-locked already", _BUG),
    713: Meaning("HOST_MEMORY_NOT_REGISTERED", "this memory was never page-locked", _BUG),
    714: Meaning("HARDWARE_STACK_ERROR", "a kernel's call stack was corrupted", _RESTART),
    715: Meaning("ILLEGAL_INSTRUCTION", "a kernel met an illegal instruction", _RESTART),
    716: Meaning("MISALIGNED_ADDRESS", "a kernel used a misaligned address", _RESTART),
    717: Meaning("INVALID_ADDRESS_SPACE", "a kernel used an address of the wrong kind", _RESTART),
    718: Meaning("INVALID_PC", "a kernel jumped to nowhere", _RESTART),
    719: Meaning("LAUNCH_FAILED", "a kernel crashed", _RESTART),
    721: Meaning("TENSOR_MEMORY_LEAK", "a kernel did not give its tensor memory back", _RESTART),
    800: Meaning("NOT_PERMITTED", "the call is not permitted here"),
    801: Meaning("NOT_SUPPORTED", "the device or driver cannot do this"),
    802: Meaning("SYSTEM_NOT_READY", "the GPU system is not started", "start nvidia-fabricmanager, or wait for it"),
    803: Meaning("SYSTEM_DRIVER_MISMATCH", "the kernel module and libcuda differ in version", "reboot, or " + _DRIVER),
    804: Meaning("COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility does not work on this GPU", _DRIVER),
    900: Meaning("STREAM_CAPTURE_UNSUPPORTED", "this call cannot be part of a graph"),
    901: Meaning("STREAM_CAPTURE_INVALIDATED", "an earlier error spoiled the recording of the graph"),
    902: Meaning("STREAM_CAPTURE_MERGE", "two recordings would be merged"),
    903: Meaning("STREAM_CAPTURE_UNMATCHED", "the recording did not begin on this stream"),
    904: Meaning("STREAM_CAPTURE_UNJOINED", "a stream was forked into the recording and never joined"),
    905: Meaning("STREAM_CAPTURE_ISOLATION", "a recorded stream depends on one that is not recorded"),
    906: Meaning("STREAM_CAPTURE_IMPLICIT", "a recorded stream would depend on the default stream"),
    907: Meaning("CAPTURED_EVENT", "an event of a recording was used outside of it"),
    908: Meaning("STREAM_CAPTURE_WRONG_THREAD", "the recording began in another thread", _BUG),
    909: Meaning("TIMEOUT", "the wait ran out of time"),
    910: Meaning("GRAPH_EXEC_UPDATE_FAILURE", "the graph cannot be changed this way"),
    911: Meaning("EXTERNAL_DEVICE", "a device other than the GPU failed", _RESTART),
    999: Meaning("UNKNOWN", "the driver does not know what failed", _RESTART),
}

STICKY = frozenset({4, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 911, 999})
"""After one of these every later call in the process fails too."""

MISSING = frozenset({34, 36, 46, 100, 101, 102, 802, 803, 804})
"""There is no usable GPU here."""

CAPTURE = frozenset(range(900, 909))
"""Something that a graph cannot hold."""
