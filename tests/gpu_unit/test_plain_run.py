# SPDX-License-Identifier: Apache-2.0
"""One engine, one batch after the other, on the accounting GPU: it finds races, leaks, and what is too large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edged.errors import EngineError
from edged.gpu.engines import EngineInfo, ShapeRange, TensorInfo
from edged.gpu.errors import GpuMemoryError
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.plain import PlainRun


def engine_of(gpu: FakeGpu, *, most: int = 4, tell: bool = True) -> FakeEngine:
    """Adds a parameter to frames, and sums them up."""
    span = ShapeRange((1, 2, 3), (2, 2, 3), (most, 2, 3))
    tensors = (
        TensorInfo("frames", True, "uint8", (-1, 2, 3), (span,)),
        TensorInfo("more", True, "float32", (3,), (ShapeRange((3,), (3,), (3,)),)),
        TensorInfo("sum", False, "float32", (-1, 2, 3)),
        TensorInfo("all", False, "int64", (1,)),
    )

    def function(given: Mapping[str, Any]) -> dict[str, Any]:
        return {"sum": given["frames"] + given["more"], "all": np.array([given["frames"].sum()], np.int64)}

    def infer(shapes: Mapping[str, Any]) -> dict[str, Any]:
        return {"sum": shapes["frames"], "all": (1,) if tell else (-1,)}

    info = EngineInfo("adder", tensors, 1, (512,), 1, 0, 1)
    return FakeEngine(gpu.machine, info, function, infer=infer)


def test_it_computes_with_batches_of_any_size_and_parameters_that_stay() -> None:
    gpu = FakeGpu()
    engine = engine_of(gpu)
    rng = np.random.default_rng(0)
    with PlainRun(gpu, engine) as run:
        more = np.array([0.5, 1.5, -2.0], np.float32)
        for count, new in ((1, True), (4, False), (2, False), (3, True), (4, False)):
            frames = rng.integers(0, 256, (count, 2, 3), dtype=np.uint8)
            more = more + 1 if new else more
            found = run({"frames": frames, **({"more": more} if new else {})})
            np.testing.assert_array_equal(found["sum"], frames + more)
            assert found["all"].tolist() == [int(frames.sum())]
    engine.close()
    assert not gpu.close()


def test_a_shape_that_only_the_run_tells_is_refused() -> None:
    gpu = FakeGpu()
    engine = engine_of(gpu, tell=False)
    with PlainRun(gpu, engine) as run, pytest.raises(EngineError, match="how large all is only the run tells"):
        run({"frames": np.zeros((1, 2, 3), np.uint8), "more": np.zeros(3, np.float32)})
    engine.close()
    assert not gpu.close()


def run_once(gpu: FakeGpu, engine: FakeEngine) -> None:
    with PlainRun(gpu, engine) as run:
        run({"frames": np.zeros((400, 2, 3), np.uint8), "more": np.zeros(3, np.float32)})


@pytest.mark.parametrize("total", [512, 1500])
def test_what_does_not_fit_leaves_nothing_behind(total: int) -> None:
    gpu = FakeGpu(total_bytes=total)
    engine = engine_of(gpu, most=400)
    with pytest.raises(GpuMemoryError):
        run_once(gpu, engine)
    engine.close()
    assert not gpu.close()
