# SPDX-License-Identifier: Apache-2.0
"""Runs `tools.gpu.injected` through the real bindings on a stand-in driver; started by ``test_gpu_injected.py``.

Usage: stub_injection.py LIBRARY. Prints the results as JSON. The engine does nothing: errors of calls are the point.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.cuda import CudaGpu
from edged.gpu.engines import EngineInfo, LayerTime, Shape, TensorInfo
from edged.gpu.fake.gpu import batch_range
from edged.gpu.inventory import Inventory, Owned
from edged.gpu.load import cuda_driver
from edged.records import TensorSpec
from tools.gpu.injected import Rig, inject

STUB = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
SIZE = (8, 12)
FRAME = (*SIZE, 3)


class IdleContext(Owned):
    """Takes everything and does nothing."""

    profile = 0

    def __init__(self, inventory: Inventory, name: str) -> None:
        super().__init__(inventory, "context", name)
        self._shape: Shape = ()

    def use_memory(self, memory: DeviceBuffer) -> None: ...
    def use_profile(self, index: int, stream: Stream) -> None: ...
    def use_aux_streams(self, streams: list[Stream]) -> None: ...
    def bind(self, name: str, address: int) -> None: ...
    def on_input_consumed(self, event: Event) -> None: ...
    def enqueue(self, stream: Stream) -> None: ...
    def timed_run(self, stream: Stream) -> list[LayerTime]:
        return []

    def set_shape(self, name: str, shape: Shape) -> None:
        self._shape = shape

    def shape(self, name: str) -> Shape:
        return self._shape

    def _destroy(self) -> None: ...


class IdleEngine(Owned):
    """Frames in, six numbers out."""

    def __init__(self, inventory: Inventory) -> None:
        tensors = (
            TensorInfo("frames", True, "uint8", (-1, *FRAME), (batch_range((1, 2, 4), FRAME),)),
            TensorInfo("digits", False, "float32", (-1, 6)),
        )
        self.info = EngineInfo("idle", tensors, 1, (256,), 1, 0, 10)
        super().__init__(inventory, "engine", "idle")
        self._inventory_of = inventory

    def context(self, name: str, *, own_memory: bool = True) -> IdleContext:
        return IdleContext(self._inventory_of, name)

    def layers(self, context: object = None) -> dict[str, Any]:
        return {}

    def _destroy(self) -> None: ...


def load(gpu: CudaGpu) -> Any:
    return IdleEngine(gpu.inventory)


if __name__ == "__main__":
    rig = Rig(cuda_driver(), load, [TensorSpec("digits", "float32", (6,))], SIZE)
    results = inject(rig, STUB.stub_live)
    sys.stdout.write(json.dumps(results))
