# SPDX-License-Identifier: Apache-2.0
"""Plans, and the graphs written from them."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from support.int8_nets import OPEN, Net, calibrated, chain, frames, residual_net

from edged.engine.half import half_typed
from edged.engine.int8.collect import collect
from edged.engine.int8.correct import Corrector, bias_corrections
from edged.engine.int8.distance import Meter
from edged.engine.int8.plan import QuantizationPlan, digest_of, is_scale, scale_for
from edged.engine.int8.run import Run, open_onnxruntime
from edged.engine.int8.share import int8_share
from edged.engine.int8.view import view
from edged.engine.int8.write import raised, weight_scales, write
from edged.errors import EngineError


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


@settings(deadline=None)
@given(st.floats(0, 1e6))
def test_scales_are_exact_in_float16_and_reach_the_threshold(threshold: float) -> None:
    scale = scale_for(threshold)
    assert is_scale(scale)
    assert scale * 127 >= threshold or threshold > 65504 * 127
    assert scale * 127 <= threshold * 1.001 or threshold < 0.05


def test_weights_have_a_scale_for_each_output_channel() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 6, 3, 3)).astype(np.float32)
    assert weight_scales(weights, 0).shape == (4,)
    np.testing.assert_allclose(weight_scales(weights, 1) * 127, np.abs(weights).max(axis=(0, 2, 3)), rtol=1e-3)
    assert weight_scales(weights, None).shape == ()
    assert (weight_scales(np.zeros((2, 2), np.float32), 0) > 0).all()


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    plan = calibrated(residual_net()).plan(["stem", "a"], {"stem_out": "mse"}, bias={"a": (0.25,) * 16, "b": (1.0,)})
    assert set(plan.bias) == {"a"}
    again = msgspec.json.decode(plan.to_json(), type=QuantizationPlan)
    assert again == plan
    assert again.to_json() == plan.to_json()


def test_a_plan_is_held_against_its_graph() -> None:
    model = residual_net()
    calibration = calibrated(model)
    plan = calibration.plan(["stem", "a"])
    digest = digest_of(model)
    plan.check(digest, calibration.view)
    (name, *_) = plan.scales
    for changes, message in (
        ({"format": 2}, "format 2, this edged reads 1"),
        ({"model": "0" * 64}, "another prepared graph"),
        ({"nodes": ("stem", "nobody")}, "'nobody' is no node"),
        ({"scales": {}}, "has no scale"),
        ({"scales": {**plan.scales, name: -1.0}}, "impossible scale -1"),
        ({"scales": {**plan.scales, name: 0.1}}, "impossible scale 0.1"),
    ):
        with pytest.raises(EngineError, match=message):
            msgspec.structs.replace(plan, **changes).check(digest, calibration.view)


def test_an_addition_comes_only_with_its_convolution_and_groups_share_a_scale() -> None:
    calibration = calibrated(residual_net())
    assert "add" not in calibration.plan(["stem", "add"]).nodes
    assert "add" in calibration.plan(["b", "add"]).nodes
    assert calibration.view.shared == (("block_out", "join_out"),)
    plan = calibration.plan(["deep", "last"], default="minmax")
    assert plan.scales["block_out"] == plan.scales["join_out"]
    own = calibration.plan(["deep"], default="minmax")
    assert own.scales["block_out"] <= plan.scales["block_out"]


def test_the_graph_written() -> None:
    model = residual_net()
    calibration = calibrated(model)
    keys = [one.key for one in calibration.view.candidates]
    before = model.SerializeToString(deterministic=True)
    written = write(model, calibration.view, calibration.plan(keys))
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(written, full_check=True)
    kinds = [node.op_type for node in written.graph.node]
    # One pair a tensor: the skipping branch of the addition is what the block reads anyway.
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == len(calibration.view.tensors) + 7
    nodes = {node.name: node for node in written.graph.node}
    stored = constants(written)
    for key, axis in (("stem", 0), ("deep", 0), ("head", 0)):
        assert all(name.endswith("/dq") for name in nodes[key].input[:2])
        assert not nodes[key].input[2].startswith("edged/")  # the bias stays
        pair = nodes[nodes[key].input[1]]
        assert [attribute.i for attribute in pair.attribute if attribute.name == "axis"] == [axis]
        assert list(stored[pair.input[1]].dims) == [stored[model_weights(model, key)].dims[0]]
    assert nodes["add"].input[0] == "b_out"
    assert nodes["add"].input[1].endswith("/dq")
    zeros = [numpy_helper.to_array(stored[node.input[2]]) for node in written.graph.node if "Quantize" in node.op_type]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert int8_share(written) == pytest.approx(1.0)


def model_weights(model: onnx.ModelProto, key: str) -> str:
    return str(next(node for node in model.graph.node if node.name == key).input[1])


def test_readers_that_stay_in_float_read_the_tensor_itself() -> None:
    model = residual_net()
    calibration = calibrated(model)
    plan = calibration.plan(["last"])
    written = write(model, calibration.view, plan)
    changed = [node.name for node, old in zip_by_name(written, model) if list(node.input) != list(old.input)]
    assert changed == ["last"]
    assert int8_share(written) == pytest.approx(calibration.view.share(["last"]))


def zip_by_name(one: onnx.ModelProto, other: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    old = {node.output[0]: node for node in other.graph.node}
    return [(node, old[node.output[0]]) for node in one.graph.node if node.output[0] in old]


@pytest.mark.parametrize("fused", [False, True])
def test_both_typed_files_run_close_to_float_and_hold_the_same_scales(fused: bool) -> None:
    model = residual_net()
    calibration = calibrated(model)
    plan = calibration.plan(calibration.view.defaults(), default="minmax")
    full, half = write(model, calibration.view, plan), half_typed(write(model, calibration.view, plan))
    (frame,) = frames(1, seed=9)
    right = OPEN(model)(frame)["logits_out"]
    for variant in (full, half):
        found = open_onnxruntime(variant, threads=1, fused=fused)(frame)["logits_out"]
        assert 0 < np.linalg.norm(found - right) / np.linalg.norm(right) < 0.1
    assert {entry.version for entry in half.opset_import} == {19}
    scales, halves = constants(full), constants(half)
    names = [node.input[1] for node in full.graph.node if node.op_type == "QuantizeLinear"]
    assert names
    for name in names:
        assert halves[name].data_type == TensorProto.FLOAT16
        np.testing.assert_array_equal(
            numpy_helper.to_array(scales[name]), numpy_helper.to_array(halves[name]).astype(np.float32)
        )


def test_transposed_convolutions_and_matrices_are_written() -> None:
    net = Net()
    up = net.conv(net.image, (3, 16, 2, 2), "up", kind="ConvTranspose", strides=[2, 2])
    flat = net.op("Flatten", net.op("AveragePool", up, name="mean", kernel_shape=[8, 8], strides=[8, 8]))
    dense = net.op("Gemm", flat, net.conv_weight((32, 256)), name="dense", transB=1)
    model = net.model(net.op("MatMul", dense, net.conv_weight((32, 20)), name="classes"))
    calibration = calibrated(model)
    plan = calibration.plan([one.key for one in calibration.view.candidates], default="minmax")
    written = write(model, calibration.view, plan)
    onnx.checker.check_model(written, full_check=True)
    assert Meter(model, frames(2), OPEN).distance(written) < 0.1
    scale = constants(written)[next(n for n in written.graph.node if n.name.endswith("/1/q")).input[1]]
    assert list(scale.dims) == [16]


def test_old_opsets_are_raised() -> None:
    model = residual_net(opset=11)
    ready = raised(model)
    assert ready.opset_import[0].version == 13
    assert raised(ready) is ready
    assert [one.key for one in view(ready).candidates] == [one.key for one in view(model).candidates]
    calibration = calibrated(ready)
    OPEN(write(ready, calibration.view, calibration.plan(calibration.view.defaults())))(frames(1)[0])


def test_correcting_biases_takes_the_mean_error_away() -> None:
    model = chain({2: 300.0})
    calibration = calibrated(model)
    plan = calibration.plan(["c2"])
    # A threshold far too low: clipping shifts every mean.
    plan = msgspec.structs.replace(plan, scales={name: scale_for(scale * 20) for name, scale in plan.scales.items()})
    corrections = bias_corrections(model, calibration.view, plan, frames(8), OPEN)
    assert {key: len(values) for key, values in corrections.items()} == {"c2": 16}
    corrected = msgspec.structs.replace(plan, bias=corrections)

    def means(graph: onnx.ModelProto) -> NDArray[np.float64]:
        return collect(graph, (), frames(8), OPEN, nbytes={}, means=["c2_out"]).channel_means["c2_out"]

    right = means(model)
    shift, left = (np.abs(means(write(model, calibration.view, one)) - right).max() for one in (plan, corrected))
    assert left < 1e-3 * shift


def test_corrections_are_measured_once_for_a_node_and_its_scale() -> None:
    model = chain()
    calibration = calibrated(model)
    opened: list[onnx.ModelProto] = []

    def counting(graph: onnx.ModelProto) -> Run:
        opened.append(graph)
        return OPEN(graph)

    corrector = Corrector(model, calibration.view, frames(2), counting)
    whole = corrector(calibration.plan(["c1", "c2", "c3"]))
    assert set(whole) == {"c1", "c2", "c3"}
    count = len(opened)
    assert corrector(calibration.plan(["c1", "c3"])) == {key: whole[key] for key in ("c1", "c3")}
    assert len(opened) == count
    other = corrector(calibration.plan(["c1", "c3"], default="percentile-99.9"))
    assert len(opened) > count
    assert other["c3"] != whole["c3"]
