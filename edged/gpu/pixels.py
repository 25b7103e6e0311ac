# SPDX-License-Identifier: Apache-2.0
"""The input step as one kernel in front of an engine: uint8 frames to the image that the model takes.

TensorRT computes the input step's ONNX nodes as four layers that it does not fuse: a cast, a transposition, the
arithmetic and a reformat, each of which reads and writes the whole batch (measured with ResNet-18, batch 128, FP16, on
an H200: 15 % of the engine's time; no order of the nodes brought it below 10 %). This kernel reads each byte once and
writes the image in the layout that the first convolution wants. It computes what those nodes compute.
"""

from __future__ import annotations

import ctypes
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from edged.gpu.api import Stream
from edged.gpu.calls import check, release
from edged.gpu.inventory import Inventory, Owned

_THREADS = 256
_PIXELS_OF_A_THREAD = 4
MOST_PIXELS = (1 << 32) // 3 - 1
"""Of a batch; the kernel counts bytes in 32 bits."""

FORMS = {("float32", False): (0, 12), ("float16", False): (1, 6), ("float16", True): (2, 8)}
"""By the image's dtype and whether its channels are packed in fours: the kernel's number of it, bytes of a pixel."""


class PixelStep(NamedTuple):
    """How pixels become values: ``value = pixel * factor + shift``, per channel in the order of the image.

    Attributes:
        factor: three factors.
        shift: three shifts.
        rgb: whether the image's channels are red, green, blue; frames are always blue, green, red.
    """

    factor: tuple[float, float, float]
    shift: tuple[float, float, float]
    rgb: bool


class _Channels(ctypes.Structure):
    _fields_ = (("factor", ctypes.c_float * 3), ("shift", ctypes.c_float * 3))


class _Arguments(ctypes.Structure):
    """The kernel's parameters in their order, see tools/kernels/pixels.cu."""

    _fields_ = (
        ("frames", ctypes.c_uint64),
        ("image", ctypes.c_uint64),
        ("pixels", ctypes.c_uint32),
        ("plane", ctypes.c_uint32),
        ("channels", _Channels),
        ("swap", ctypes.c_int),
        ("form", ctypes.c_int),
    )


class Kernel(Protocol):
    """What makes images of frames."""

    def launch(self, stream: Stream, call: PixelCall) -> None:
        """Enqueue one run."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class PixelKernel(Owned):
    """The kernel, translated by the driver for this GPU.

    Args:
        driver: the bindings.
        inventory: the GPU's.

    Raises:
        CudaError: the driver does not take the kernel.
    """

    _fading = ("_function",)

    def __init__(self, driver: Any, inventory: Inventory) -> None:
        self._driver = driver
        text = ctypes.create_string_buffer(files("edged.gpu").joinpath("kernels/pixels.ptx").read_bytes())
        doing = "translating the input step's kernel for this GPU"
        self._module = check(driver.cuModuleLoadData(ctypes.addressof(text)), doing)
        found = driver.cuModuleGetFunction(self._module, b"edged_pixels")
        if found[0]:
            self._destroy()
        self._function = check(found, doing)
        super().__init__(inventory, "kernel", "input step")

    def launch(self, stream: Stream, call: PixelCall) -> None:
        """Enqueue one run."""
        launched = self._driver.cuLaunchKernel(
            self._function, call.blocks, 1, 1, _THREADS, 1, 1, 0, stream.handle, call.address, 0
        )
        check(launched, "launching the input step's kernel")

    def _destroy(self) -> None:
        release(self._driver.cuModuleUnload(self._module), "unloading the input step's kernel")


class PixelCall:
    """A run's parameters; the driver copies them when the kernel is launched (or recorded).

    Args:
        step: the arithmetic.
        form: the kernel's number of the image's layout, see `FORMS`.

    Attributes:
        arguments: as the kernel gets them.
        address: of the list of their addresses, which is what a launch wants.
        blocks: of threads.
    """

    def __init__(self, step: PixelStep, form: int) -> None:
        self.step = step
        self.arguments = _Arguments(swap=int(step.rgb), form=form)
        self.arguments.channels.factor[:] = step.factor
        self.arguments.channels.shift[:] = step.shift
        start = ctypes.addressof(self.arguments)
        places = [start + getattr(_Arguments, field[0]).offset for field in _Arguments._fields_]
        self._places = (ctypes.c_void_p * len(places))(*places)
        self.address = ctypes.addressof(self._places)
        self.blocks = 0

    def place(self, *, frames: int | None = None, image: int | None = None) -> None:
        """Set device addresses; those of frames must be multiples of 4, those of the image of 16."""
        if frames is not None:
            self.arguments.frames = frames
        if image is not None:
            self.arguments.image = image

    def resize(self, batch: int, height: int, width: int) -> None:
        """Set the number of frames and their size."""
        self.arguments.plane = height * width
        pixels = self.arguments.pixels = batch * height * width
        per_block = _THREADS * _PIXELS_OF_A_THREAD
        self.blocks = (pixels + per_block - 1) // per_block
