# SPDX-License-Identifier: Apache-2.0
"""An executor over the accounting GPU with everything that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.gpu.engines import ShapeRange, TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

HEIGHT, WIDTH = 4, 8
FRAME = (HEIGHT, WIDTH, 3)
RING_SLOTS = 16
OUTPUTS = (TensorSpec("sum", "float32", (1,)), TensorSpec("last", "uint8", (2,)))


def sums(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What the engine computes: each frame's sum, and its last two bytes."""
    frames = given["frames"]
    flat = frames.reshape(len(frames), -1)
    return {"sum": flat.sum(1, keepdims=True).astype(np.float32), "last": flat[:, -2:]}


class RingOutput:
    """A slot of an output ring."""

    def __init__(self, memory: NDArray[np.uint8], slot: int, count: int) -> None:
        base = slot * 256
        self.sum = memory[base : base + 4 * count].view(np.float32).reshape(count, 1)
        self.last = memory[base + 128 : base + 128 + 2 * count].reshape(count, 2)

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        return (self.sum, self.last)[index]

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        raise AssertionError("no output varies")


class Rig:
    """A GPU, an engine, a frame ring, an output ring and an executor over them."""

    def __init__(self, gpu: FakeGpu | None = None, profiles: tuple[ShapeRange, ...] = (), **options: Any) -> None:
        self.gpu = FakeGpu() if gpu is None else gpu
        ranges = profiles or (batch_range((1, 4, 16), FRAME),)
        tensors = [
            TensorInfo("frames", True, "uint8", (-1, *FRAME), ranges),
            # Not in the order of the ring: names count.
            TensorInfo("last", False, "uint8", (-1, 2)),
            TensorInfo("sum", False, "float32", (-1, 1)),
        ]
        self.engine: FakeEngine = self.gpu.engine("sums", tensors, sums)
        # Aligned as real mappings are, so that mapped frames can be used in place.
        spare = np.zeros(RING_SLOTS * 96 + 8192, dtype=np.uint8)
        start = -spare.ctypes.data % 4096
        self.frames = spare[start : start + RING_SLOTS * 96].reshape(RING_SLOTS, *FRAME)
        self.results = np.zeros(8 * 256, dtype=np.uint8)
        self.rings = [
            RingMemory("frames", self.frames.ctypes.data, self.frames.nbytes),
            RingMemory("outputs", self.results.ctypes.data, self.results.nbytes),
        ]
        chosen = GpuOptions(**{"slots": 2, "max_batch": 8, **options})
        self.executor: TensorRtExecutor | None = None
        self.executor = TensorRtExecutor(self.gpu, self.engine, OUTPUTS, self.rings, chosen)

    def submit(self, slot: int, places: list[int], values: list[int]) -> RingOutput:
        """Write frames into the ring and submit them."""
        assert self.executor is not None
        for place, value in zip(places, values, strict=True):
            self.frames[place] = value
            self.frames[place, -1, -1, -1] = place
        side_by_side = places == list(range(places[0], places[0] + len(places)))
        whole = self.frames[places[0] : places[0] + len(places)] if side_by_side else None
        output = RingOutput(self.results, slot, len(places))
        self.executor.submit(slot, BatchInput([self.frames[place] for place in places], whole), output)
        return output

    def check(self, output: RingOutput, places: list[int], values: list[int]) -> None:
        """Each result belongs to its own frame."""
        expected = [value * 95 + place for value, place in zip(values, places, strict=True)]
        assert output.sum[:, 0].tolist() == expected
        assert output.last.tolist() == [[value, place] for value, place in zip(values, places, strict=True)]

    def run(self, slot: int, places: list[int], values: list[int]) -> None:
        """A batch from beginning to end."""
        assert self.executor is not None
        output = self.submit(slot, places, values)
        self.executor.done(slot)  # as the loop does, before it waits
        assert self.executor.wait(slot, 1)
        self.executor.collect(slot)
        self.check(output, places, values)

    def end(self) -> None:
        assert self.executor is not None
        self.executor.close()
        self.executor.close()
        self.engine.close()
        assert self.gpu.close() == ()
