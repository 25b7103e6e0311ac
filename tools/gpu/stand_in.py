# SPDX-License-Identifier: Apache-2.0
"""The accounting GPU instead of a real one, in the processes of a real daemon, which knows nothing of it.

All of edged's own code for TensorRT runs: rings are page-locked and unlocked, frames copied, graphs replayed, and every
access to memory is accounted for. Plans are ONNX files, which ONNX Runtime computes.

The daemon's processes inherit an environment that has Python put `StandInGpu` where ``CudaGpu`` was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edged.engine.key import DeviceFacts
from edged.errors import EngineError
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.gpu.fake.memory import FakeRegisteredHost
from tools.gpu.injecting import injected
from tools.gpu.pins import note

VARIABLE = "GPU_STAND_IN"
FACTS = DeviceFacts(runtime="tensorrt 8.6.0", gpu="accounting GPU", compute_capability=(8, 7), driver="12.6")
_BATCHES = (1, 4, 8)
_CHILD = "edged.runtime.child"


class StandInGpu(FakeGpu):
    """The accounting GPU as infer opens one."""

    @property
    def inventory(self) -> StandInGpu:
        """What engines are loaded with."""
        return self

    def register(self, name: str, address: int, size: int, *, mapped: bool = False) -> FakeRegisteredHost:
        """Page-lock memory that exists, and note it."""
        locked = super().register(name, address, size, mapped=mapped)
        note("+", address, size)
        return locked


class StandInLibrary:
    """As `edged.gpu.trt.TensorRt`."""

    def __init__(self, plugins: list[Path] | None = None) -> None:
        assert not plugins

    def load(self, gpu: StandInGpu, name: str, plan: bytes) -> FakeEngine:
        """Load a plan, which is an ONNX file.

        Raises:
            EngineError: it is none.
        """
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidProtobuf

        from edged.gpu.engines import TensorInfo

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        except InvalidProtobuf as error:
            raise EngineError(f"TensorRT does not take this engine: {error}", where=name) from error
        (given,) = session.get_inputs()
        frame = tuple(given.shape[1:])
        tensors = [TensorInfo(given.name, True, "uint8", (-1, *frame), (batch_range(_BATCHES, frame),))]
        names = [each.name for each in session.get_outputs()]
        for each in session.get_outputs():
            shape = tuple(one if isinstance(one, int) else -1 for one in each.shape)
            tensors.append(TensorInfo(each.name, False, "float32", shape))

        def run(values: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(names, session.run(names, dict(values)), strict=True))

        return gpu.engine(name, tensors, run)


@contextmanager
def standing_in() -> Iterator[None]:
    """What is started meanwhile, and its children, find the accounting GPU."""
    with injected(VARIABLE, "1"):
        yield


def install() -> None:
    """Put it in the real one's place, in those processes that would open a GPU."""
    words = sys.orig_argv
    role = words[words.index(_CHILD) + 1] if _CHILD in words else ""
    if role == "prepare":
        from edged.engine import here

        here.facts_here = lambda *_: FACTS
    elif role == "infer":
        _in_infer()


def _in_infer() -> None:
    from edged.gpu import cuda, trt
    from edged.runtime import open_executor

    real: Any = open_executor._open_tensorrt
    destroy = FakeRegisteredHost._destroy

    def unlock(self: FakeRegisteredHost) -> None:
        note("-", self.address)
        destroy(self)

    # Nothing moves on this GPU by itself, so that nothing is ever announced: infer waits for the oldest batch.
    replaced: dict[str, Any] = {"_open_tensorrt": lambda *given: real(*given)._replace(announces=False)}
    vars(open_executor).update(replaced)
    vars(cuda).update(CudaGpu=lambda _number: StandInGpu())
    vars(trt).update(TensorRt=StandInLibrary)
    setattr(FakeRegisteredHost, "_destroy", unlock)  # noqa: B010 - mypy does not take the assignment
