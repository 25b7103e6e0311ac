# SPDX-License-Identifier: Apache-2.0
"""Times of layers, as TensorRT tells them."""

from __future__ import annotations

from typing import Any

from edged.gpu.engines import LayerTime


def make_profiler(trt: Any, times: list[LayerTime]) -> Any:
    """TensorRT's profiler, adding to ``times``; whoever gives it to a context keeps it for as long as the context."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.append(LayerTime(layer_name, float(ms)))

    return Profiler()
