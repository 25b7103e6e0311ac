# SPDX-License-Identifier: Apache-2.0
"""The graph that can be any plan computes what the graph of that plan computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.int8_nets import OPEN, Net, calibrated, chain, frames, residual_net

from edged.engine.int8.correct import Corrector
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.switched import MEANS, switched
from edged.engine.int8.write import write


def transposing() -> onnx.ModelProto:
    """A ConvTranspose in two groups, and a matrix."""
    net = Net()
    wide = net.op("Relu", net.conv(net.image, (16, 3, 3, 3), "stem", pads=[1, 1, 1, 1]))
    grown = net.conv(wide, (16, 12, 2, 2), "up", kind="ConvTranspose", strides=[2, 2], group=2, bias=False)
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", grown), name="pool"), name="flat")
    return net.model(net.op("Gemm", flat, net.conv_weight((24, 16)), name="product"))


@pytest.mark.parametrize("model", [residual_net(), residual_net(13), chain({2: 1e3}), transposing()])
def test_it_computes_what_the_graph_of_a_plan_computes(model: onnx.ModelProto) -> None:
    calibration = calibrated(model)
    view = calibration.view
    outputs = [info.name for info in model.graph.output]
    made = switched(model, view, outputs)
    run = OPEN(made.model)
    keys = [one.key for one in view.candidates]
    rng = np.random.default_rng(5)
    some = frames(3, seed=9)
    corrector = Corrector(model, view, some, OPEN)
    for chosen in ([], keys, *([key for key in keys if rng.random() < 0.5] for _ in range(4))):
        plan = calibration.plan(chosen, default="percentile-99.9")
        corrected = QuantizationPlan(
            model=plan.model, nodes=plan.nodes, scales=plan.scales, methods=plan.methods, bias=corrector(plan)
        )
        for one in (plan, corrected):
            wanted, values = OPEN(write(model, view, one)), made.values(one)
            for frame in some:
                right, found = wanted(frame), run(frame, values)
                for name in outputs:
                    np.testing.assert_allclose(found[name], right[name], rtol=2e-3, atol=2e-3)


def test_its_means_are_what_corrections_are_made_of() -> None:
    model = residual_net()
    calibration = calibrated(model)
    made = switched(model, calibration.view, ["logits_out"])
    run = OPEN(made.model)
    plan = calibration.plan([one.key for one in calibration.view.candidates])
    some = frames(4, seed=3)
    values = made.values(plan, on=False)
    found = made.shifts(np.mean([run(frame, values)[MEANS][0] for frame in some], axis=0))
    wanted = Corrector(model, calibration.view, some, OPEN)(plan)
    assert {key for key in found if key in plan.nodes} == set(wanted)
    for key, shift in wanted.items():
        np.testing.assert_allclose(found[key], shift, rtol=1e-3, atol=1e-5)
