# SPDX-License-Identifier: Apache-2.0
"""All checks, in the order in which they run: what explains the others comes first."""

from __future__ import annotations

from edged.doctor.check import Check
from edged.doctor.checks.cameras import CAPTURE_DEVICES
from edged.doctor.checks.cuda import CUDA_BINDINGS, CUDA_VERSION, GPU
from edged.doctor.checks.driver import DEVICE_NODES, DRIVER, DRIVER_LIBRARY, NVIDIA_UVM
from edged.doctor.checks.engine import ENGINE
from edged.doctor.checks.ffmpeg import FFMPEG
from edged.doctor.checks.heat import TEMPERATURE, THROTTLING
from edged.doctor.checks.kernel import CLOCK_SOURCE, KERNEL, TIME_SYNC
from edged.doctor.checks.limits import CGROUP, FILE_DESCRIPTORS, MEMLOCK
from edged.doctor.checks.memory import MEMORY, UNIFIED_MEMORY
from edged.doctor.checks.network_cameras import NETWORK_CAMERAS
from edged.doctor.checks.opencv import NUMPY, OPENCV, VIDEO_BACKENDS
from edged.doctor.checks.power import CLOCKS, POWER_MODE
from edged.doctor.checks.settings import MODEL, PREPARED, SETTINGS, SOURCES
from edged.doctor.checks.sockets import CURVE, ENDPOINTS, EXPOSURE, INSTANCE
from edged.doctor.checks.software import ONNXRUNTIME, PYTHON, USER
from edged.doctor.checks.storage import DISK, STATE_DIR
from edged.doctor.checks.trt import TENSORRT, TENSORRT_FIT

CHECKS: tuple[Check, ...] = (
    USER,
    PYTHON,
    KERNEL,
    DRIVER,
    DRIVER_LIBRARY,
    DEVICE_NODES,
    NVIDIA_UVM,
    CUDA_BINDINGS,
    CUDA_VERSION,
    GPU,
    TENSORRT,
    TENSORRT_FIT,
    NUMPY,
    OPENCV,
    FFMPEG,
    ONNXRUNTIME,
    SETTINGS,
    MODEL,
    STATE_DIR,
    DISK,
    PREPARED,
    ENGINE,
    SOURCES,
    VIDEO_BACKENDS,
    CAPTURE_DEVICES,
    NETWORK_CAMERAS,
    ENDPOINTS,
    INSTANCE,
    EXPOSURE,
    CURVE,
    MEMORY,
    UNIFIED_MEMORY,
    FILE_DESCRIPTORS,
    MEMLOCK,
    CGROUP,
    POWER_MODE,
    CLOCKS,
    TEMPERATURE,
    THROTTLING,
    TIME_SYNC,
    CLOCK_SOURCE,
)
