# SPDX-License-Identifier: Apache-2.0
"""Building with a real builder that needs no GPU: TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rtx import rtx_library

from edged.errors import EngineError
from edged.gpu.engines import ShapeRange
from edged.gpu.trt import TensorRt
from edged.gpu.trt.build import BuildOptions, build_engine


class Watch:
    """Counts steps; cancels after some."""

    def __init__(self, limit: int) -> None:
        self.cancelled = False
        self.steps = 0
        self.phases: list[str] = []
        self._limit = limit

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self.phases.append(phase)

    def step(self, phase: str, number: int) -> bool:
        self.steps += 1
        self.cancelled = self.steps >= self._limit
        return not self.cancelled

    def finish(self, phase: str) -> None:
        self.phases.remove(phase)


SHAPES = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.onnx"


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    """TensorRT-RTX, whose builder needs no GPU."""
    return rtx_library()


def options(**changed: Any) -> BuildOptions:
    frame = (3, 240, 320)
    profile = {"images": ShapeRange((1, *frame), (4, *frame), (8, *frame))}
    given: dict[str, Any] = {
        "profiles": (profile,),
        "strongly_typed": True,
        "optimization_level": 0,
        "workspace_bytes": 1 << 30,
        "aux_streams": 0,
        "compute_capabilities": ("SM86",),
        "library_tactics": False,
        **changed,
    }
    return BuildOptions(**given)


def test_a_real_builder_builds(rtx: TensorRt) -> None:
    watch = Watch(1 << 30)
    built = build_engine(rtx, SHAPES, options(), watch)
    assert len(built.plan) > 10_000
    assert built.inputs == (("images", "FLOAT", (-1, 3, 240, 320)),)
    assert watch.steps > 10
    assert watch.phases == []
    again = build_engine(rtx, SHAPES, options(timing_cache=built.timing_cache))
    assert again.layers == built.layers
    assert rtx.unsupported(["Conv", "NoSuchOperator"]) == ["NoSuchOperator"]


def test_a_real_builder_refuses_and_says_why(rtx: TensorRt, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="was cancelled"):
        build_engine(rtx, SHAPES, options(), Watch(3))
    with pytest.raises(EngineError, match="has no range for"):
        build_engine(rtx, SHAPES, options(profiles=({},)))
    with pytest.raises(EngineError, match="names no inputs"):
        build_engine(rtx, SHAPES, options(profiles=({**options().profiles[0], "x": ShapeRange((1,), (1,), (1,))},)))
    small = ShapeRange((1, 3, 9, 9), (1, 3, 9, 9), (1, 3, 9, 9))
    with pytest.raises(EngineError, match="240"):
        build_engine(rtx, SHAPES, options(profiles=({"images": small},)))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    with pytest.raises(EngineError, match="cannot read the model"):
        build_engine(rtx, broken, options())
    with pytest.raises(EngineError, match="no precision"):
        build_engine(rtx, SHAPES, options(precision="int3"))
