# SPDX-License-Identifier: Apache-2.0
"""An engine that sums the bytes of each frame, and real rings as the executor takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.pipeline_machine import HEIGHT, WIDTH

from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.shm.region import Region
from edged.stages.infer.gpu_rings import RingMemory


def sums(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What the engine computes."""
    frames = given["frames"]
    return {"sum": frames.reshape(len(frames), -1).sum(1, dtype=np.int64)[:, None]}


def sum_engine(gpu: FakeGpu, batches: tuple[int, int, int]) -> FakeEngine:
    """The engine, for batches of these sizes (least, best, most)."""
    frame = (HEIGHT, WIDTH, 3)
    tensors = [
        TensorInfo("frames", True, "uint8", (-1, *frame), (batch_range(batches, frame),)),
        TensorInfo("sum", False, "int64", (-1, 1)),
    ]
    return gpu.engine("sums", tensors, sums)


def memory(name: str, region: Region) -> RingMemory:
    """A ring as memory of the host."""
    return RingMemory(name, np.frombuffer(region.map, dtype=np.uint8).ctypes.data, region.size)
