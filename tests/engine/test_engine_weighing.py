# SPDX-License-Identifier: Apache-2.0
"""An engine that only measures is built where the CPU would take far longer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.engines import Heard

from edged.engine.bench import Bench, OrtBench
from edged.engine.int8.run import Settable
from edged.engine.protocol import Note
from edged.engine.weighing import FAR, NODE_S, or_last, worthwhile
from edged.errors import EngineError


class Slow:
    """Builds engines, and is never asked to here."""

    opens_slowly = True
    runtime = "tensorrt 8.6.0 on Orin, fp32"

    def open(self, model: onnx.ModelProto) -> Settable:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class Unable(OrtBench):
    """Lacks an operator."""

    def open(self, model: onnx.ModelProto) -> Settable:
        raise EngineError("no kernel for X")


def graph(nodes: int) -> onnx.ModelProto:
    names = ["frames", *(f"t{number}" for number in range(nodes))]
    chain = [helper.make_node("Identity", [one], [other]) for one, other in pairwise(names)]
    given = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 4, 4, 3])
    made = helper.make_tensor_value_info(names[-1], TensorProto.UINT8, ["n", 4, 4, 3])
    return helper.make_model(
        helper.make_graph(chain, "g", [given], [made]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


@pytest.mark.parametrize(("runs", "quick"), [(10.0, True), (1e9, False)])
def test_the_work_for_each_node_decides(runs: float, quick: bool) -> None:
    benches: list[Bench] = [Slow(), OrtBench()]
    heard = Heard()
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    found = worthwhile(benches, graph(50), frames, runs, 2.0, heard)
    assert list(found) == (benches[1:] if quick else benches)
    told = [one.text for one in heard.of(Note)]
    assert len(told) == quick
    assert not quick or told[0].endswith(f"tensorrt about {2 * 50 * NODE_S:.0f} s to build what would measure")
    assert FAR > 1


def test_without_a_choice_nothing_is_measured() -> None:
    frames, heard = np.zeros((1, 4, 4, 3), np.uint8), Heard()
    some: list[list[Bench]] = [[OrtBench()], [Slow()], [Slow(), Unable()]]
    for benches in some:
        assert list(worthwhile(benches, graph(1), frames, 1.0, 1.0, heard)) == benches
    assert not heard
    slow, quick = Slow(), OrtBench()
    assert or_last(slow, [slow, quick]) == [slow, quick]
    assert or_last(quick, [slow, quick]) == [quick]
