# SPDX-License-Identifier: Apache-2.0
"""Which nodes can be quantized, and the rules about them."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto
from support.int8_nets import Net, residual_net

from edged.engine.int8.graph import unique_keys
from edged.engine.int8.share import int8_share
from edged.engine.int8.view import Candidate, view


def by_key(model: onnx.ModelProto) -> dict[str, Candidate]:
    return {one.key: one for one in view(model).candidates}


def test_candidates_of_a_residual_network() -> None:
    seen = view(residual_net())
    found = {one.key: one for one in seen.candidates}
    assert list(found) == ["stem", "a", "b", "add", "deep", "point", "last", "head", "pool"]
    assert {key: one.default_float for key, one in found.items() if one.default_float} == {
        "deep": "depthwise",
        "head": "head",
    }
    assert found["stem"].macs == 16 * 16 * 16 * 27
    assert found["add"].macs == 0
    assert found["add"].elements == 16 * 16 * 16
    assert seen.raw_outputs == ("logits_out",)
    assert seen.share(found) == 1.0
    assert seen.share(["stem"]) == pytest.approx(found["stem"].macs / seen.total_macs)
    assert seen.matching(["de*", "b"]) == ("b", "deep")


def test_only_the_branch_that_skips_an_addition_is_quantized() -> None:
    add = by_key(residual_net())["add"]
    assert add.follows == "b"
    assert add.inputs == by_key(residual_net())["a"].inputs  # what the block itself reads


def test_of_two_convolutions_the_later_one_takes_the_addition() -> None:
    net = Net()
    stem = net.op("Relu", net.conv(net.image, (16, 3, 3, 3), "stem", pads=[1, 1, 1, 1]))
    side = net.conv(stem, (16, 16, 1, 1), "side")
    main = net.conv(stem, (16, 16, 1, 1), "main")
    model = net.model(net.conv(net.op("Add", main, side, name="add"), (16, 16, 1, 1), "head"))
    assert by_key(model)["add"].inputs == ("side_out",)
    assert by_key(model)["add"].follows == "main"


@pytest.mark.parametrize("busy", ["read twice", "an output", "behind an activation"])
def test_an_addition_that_no_convolution_can_take_stays(busy: str) -> None:
    net = Net()
    stem = net.op("Relu", net.conv(net.image, (16, 3, 3, 3), "stem", pads=[1, 1, 1, 1]))
    main = net.conv(stem, (16, 16, 1, 1), "main")
    if busy == "behind an activation":
        main = net.op("Sigmoid", main)
    total = net.op("Add", main, stem, name="add")
    outputs = [net.conv(total, (16, 16, 1, 1), "head")]
    if busy == "an output":
        outputs.append(main)
    if busy == "read twice":
        outputs.append(net.op("Relu", main))
    assert "add" not in by_key(net.model(*outputs))


def test_concatenated_tensors_share_a_scale_through_copies() -> None:
    net = Net()
    left = net.op("Relu", net.conv(net.image, (16, 3, 1, 1), "left"), name="left_relu")
    right = net.op("MaxPool", left, name="copy", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    joined = net.op("Concat", right, net.conv(left, (16, 16, 1, 1), "right"), name="join", axis=1)
    alone = net.op("Relu", net.conv(joined, (16, 32, 1, 1), "after"))
    model = net.model(net.conv(alone, (16, 16, 1, 1), "head"))
    assert view(model).shared == (("left_relu_out", "join_out"),)


@pytest.mark.parametrize(
    ("shape", "group", "reason"),
    [
        ((16, 32, 1, 1), 1, None),
        ((8, 32, 1, 1), 1, None),  # a multiple of 8, square, enough on the other side
        ((12, 32, 1, 1), 1, "few channels"),
        ((8, 32, 1, 3), 1, "few channels"),
        ((32, 1, 3, 3), 32, "depthwise"),
        ((64, 1, 3, 3), 32, "depthwise"),
        ((32, 8, 3, 3), 4, None),
        ((32, 2, 3, 3), 16, "few channels"),
    ],
)
def test_channel_rule(shape: tuple[int, ...], group: int, reason: str | None) -> None:
    net = Net()
    wide = net.op("Relu", net.conv(net.image, (32, 3, 3, 3), "first"))
    inner = net.op("Relu", net.conv(wide, shape, "inner", group=group))
    model = net.model(net.conv(inner, (16, shape[0], 1, 1), "head"))
    assert by_key(model)["inner"].default_float == reason
    assert by_key(model)["first"].default_float is None


def test_matrices_and_transposed_convolutions() -> None:
    net = Net()
    up = net.conv(net.image, (3, 16, 2, 2), "up", kind="ConvTranspose", strides=[2, 2])
    flat = net.op("Flatten", net.op("AveragePool", up, name="mean", kernel_shape=[32, 32]))
    dense = net.op("Gemm", flat, net.conv_weight((32, 16)), name="dense", transB=1)
    model = net.model(net.op("MatMul", dense, net.conv_weight((32, 20)), name="classes"))
    found = by_key(model)
    assert {key: (one.operator, one.axis) for key, one in found.items()} == {
        "up": ("ConvTranspose", 1),
        "mean": ("AveragePool", None),
        "dense": ("Gemm", None),
        "classes": ("MatMul", None),
    }
    assert found["dense"].macs == 16 * 32
    assert found["classes"].default_float == "head"


def test_products_of_two_activations_and_float16_models_are_no_candidates() -> None:
    net = Net()
    value = net.conv(net.image, (16, 3, 1, 1), "conv")
    model = net.model(net.op("MatMul", value, value, name="attention"))
    assert "attention" not in by_key(model)
    for tensor in model.graph.initializer:
        tensor.data_type = TensorProto.FLOAT16
    assert "conv" not in by_key(model)


def test_nodes_without_or_with_equal_names_have_keys_of_their_own() -> None:
    model = residual_net()
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    keys = unique_keys(model.graph)
    assert len(set(keys)) == len(keys)
    assert len(view(model).candidates) == 9


def test_the_output_step_is_left_alone_and_names_the_raw_outputs() -> None:
    net = Net()
    raw = net.conv(net.image, (16, 3, 1, 1), "conv")
    kernel = net.conv_weight((16, 16, 1, 1))
    model = net.model(net.op("Conv", raw, kernel, name="edged/output/Conv_0"))
    seen = view(model)
    assert [one.key for one in seen.candidates] == ["conv"]
    assert seen.raw_outputs == (raw,)


def test_a_float_graph_has_no_int8_share() -> None:
    assert int8_share(residual_net()) == 0.0
