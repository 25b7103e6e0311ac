# SPDX-License-Identifier: Apache-2.0
"""The networks of the checks for a real GPU: they compute something, and are quantized as TensorRT wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from tools.gpu import int8, models, networks, quantize, table
from tools.gpu.pictures import pictures


@pytest.mark.parametrize("network", [networks.resnet18, networks.resnet50])
def test_networks_written_down_give_finite_outputs_that_differ(network: Any) -> None:
    model = network(size=64)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    (found,) = session.run(None, {"image": given})
    assert found.shape == (2, networks.CLASSES)
    assert 0.1 < np.abs(found).max() < 1000
    assert np.linalg.norm(found[0] - found[1]) > 1e-3 * np.linalg.norm(found[0])


def test_quantized_networks_have_their_nodes_where_tensorrt_wants_them() -> None:
    model = networks.resnet18(size=64)
    given = quantize.normalised(pictures(12, 64, 64), models.MEAN, models.STD)
    networks.fit_head(model, iter([given[:6], given[6:]]))
    made = quantize.quantized(model, given)
    found = quantize.survey(made)
    assert quantize.as_wanted(found), found
    assert (found["convs"], found["adds"]) == (20, 8)
    assert not quantize.as_wanted(quantize.survey(model))
    both = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"image": given}
        )[0]
        for one in (model, made)
    ]
    # Each picture is the best example of itself, or of one like it; INT8 hardly changes which.
    assert len(set(both[0].argmax(axis=1).tolist())) > 3
    relative, top1 = table.agreement(both[1], both[0])
    assert 0 < relative < 0.2
    assert top1 > 0.7


def test_convolutions_are_counted_by_what_they_take() -> None:
    kinds = ("Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP16 format")
    convs = [{"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": kind}]} for kind in kinds]
    described = {"Layers": [*convs, {"LayerType": "Reformat"}, "a name alone"]}
    assert int8.convolution_types(described) == (2, {"Int8": 1, "Half": 1})
