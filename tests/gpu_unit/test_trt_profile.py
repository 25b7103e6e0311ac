# SPDX-License-Identifier: Apache-2.0
"""How layers are timed and inspected, over a stand-in for TensorRT's context and inspector."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edged.gpu.api import Stream
from edged.gpu.engines import LayerTime
from edged.gpu.errors import EngineRunError
from edged.gpu.inventory import Inventory
from edged.gpu.trt.engine import TrtContext
from edged.gpu.trt.messages import Messages


class Context:
    """A context that reports two layers once it is asked to."""

    active_optimization_profile = 0
    profiler: Any = None
    enqueue_emits_profile = True

    def __init__(self, layers: tuple[str, ...] = ("a", "b"), *, willing: bool = True) -> None:
        self.layers = layers
        self.willing = willing
        self.done: list[str] = []

    def execute_async_v3(self, handle: int) -> bool:
        self.done.append("run")
        return True

    def report_to_profiler(self) -> bool:
        assert not self.enqueue_emits_profile, "the times would hold the waiting of the host"
        self.done.append("report")
        for number, name in enumerate(self.layers):
            self.profiler.report_layer_time(name, number + 0.5)
        return self.willing


def profiled(trt_context: Context) -> tuple[TrtContext, Stream]:
    stream = SimpleNamespace(handle=1, synchronize=lambda: trt_context.done.append("wait"), done=lambda: True)
    module = SimpleNamespace(IProfiler=type("IProfiler", (), {}))
    return TrtContext(module, Messages(), Inventory(), "layers", trt_context, 0), cast(Stream, stream)


def test_each_run_is_waited_for_and_reported_by_itself() -> None:
    trt_context = Context()
    context, stream = profiled(trt_context)
    for _ in range(2):
        assert context.timed_run(stream) == [LayerTime("a", 0.5), LayerTime("b", 1.5)]
    assert trt_context.done == ["run", "wait", "report"] * 2


@pytest.mark.parametrize("trt_context", [Context(willing=False), Context(())])
def test_no_times_are_an_error(trt_context: Context) -> None:
    context, stream = profiled(trt_context)
    with pytest.raises(EngineRunError, match="timing the layers failed"):
        context.timed_run(stream)


def test_an_inspector_sees_the_context() -> None:
    trt_context = Context()
    context, _ = profiled(trt_context)
    inspector = SimpleNamespace()
    context.show_to(inspector)
    assert inspector.execution_context is trt_context
