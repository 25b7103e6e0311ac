# SPDX-License-Identifier: Apache-2.0
"""What the tests of the accounting GPU have on the bench."""

from __future__ import annotations

import numpy as np

from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.gpu.fake.memory import FakeDeviceBuffer, FakeHostBuffer
from edged.gpu.fake.streams import FakeEvent, FakeStream


class Bench:
    """Two streams, an event, a device buffer and two host buffers."""

    def __init__(self) -> None:
        self.gpu = FakeGpu()
        self.a: FakeStream = self.gpu.stream("a")
        self.b: FakeStream = self.gpu.stream("b")
        self.event: FakeEvent = self.gpu.event("e", timing=True, timed=True)
        self.device: FakeDeviceBuffer = self.gpu.device_buffer("d", 64)
        self.source: FakeHostBuffer = self.gpu.host_buffer("source", 64)
        self.target: FakeHostBuffer = self.gpu.host_buffer("target", 64)
        self.source.array[:] = np.arange(64)

    def end(self) -> None:
        self.a.synchronize()
        self.b.synchronize()
        for thing in (self.a, self.b, self.event, self.device, self.source, self.target):
            thing.close()
        self.gpu.close()


def doubler(gpu: FakeGpu) -> FakeEngine:
    shape = batch_range((1, 2, 4), (2,))
    return gpu.engine(
        "doubler",
        [TensorInfo("x", True, "uint8", (-1, 2), (shape,)), TensorInfo("y", False, "float32", (-1, 2))],
        lambda given: {"y": given["x"] * 2.0},
    )


class Doubling:
    """An engine ready to run on stream a, its output at the device buffer's second half."""

    def __init__(self, bench: Bench) -> None:
        self.engine = doubler(bench.gpu)
        self.context = self.engine.context("c")
        self.context.set_shape("x", (2, 2))
        self.context.bind("x", bench.device.address)
        self.context.bind("y", bench.device.address + 32)

    def end(self) -> None:
        self.context.close()
        self.engine.close()
