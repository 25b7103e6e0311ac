# SPDX-License-Identifier: Apache-2.0
"""Puts the input step's kernel in front of an engine of TensorRT's."""

from __future__ import annotations

from edged.gpu import load
from edged.gpu.cuda_memory import CudaDeviceBuffer
from edged.gpu.cuda_streams import CudaEvent
from edged.gpu.fronted import Front, FrontedEngine
from edged.gpu.inventory import Inventory
from edged.gpu.pixels import PixelKernel
from edged.gpu.plan_file import FrontSpec
from edged.gpu.trt.engine import TrtEngine


def with_kernel(inventory: Inventory, engine: TrtEngine, front: FrontSpec) -> FrontedEngine:
    """An engine that takes frames, of one that takes the image; owns it.

    Raises:
        CudaError: the driver does not take the kernel.
        EngineError: the engine's input is no image that the kernel can make.
    """
    driver = load.cuda_driver()
    kernel = PixelKernel(driver, inventory)
    try:
        return FrontedEngine(
            inventory,
            engine,
            kernel,
            Front(front.frames, front.step, engine.packed(engine.info.inputs[0].name)),
            lambda name, size: CudaDeviceBuffer(driver, inventory, name, size),
            lambda name: CudaEvent(driver, inventory, name, timing=True, bell=None),
        )
    except BaseException:
        kernel.close()
        raise
