# SPDX-License-Identifier: Apache-2.0
"""Collecting over frames: complete, whatever the portions, and in bounded memory; and keeping it on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from support.int8_nets import OPEN, Net, calibrated, chain, frames, residual_net

from edged.engine.int8.cache import pack, unpack
from edged.engine.int8.calibrate import Calibration, calibrate
from edged.engine.int8.collect import collect, exposing, portions
from edged.engine.int8.run import Outputs, Run
from edged.engine.int8.view import view
from edged.errors import EngineError


def test_histograms_hold_every_value_of_every_frame_whatever_the_portions() -> None:
    model, batches = residual_net(), frames(5)
    seen = view(model)
    run = OPEN(exposing(model, seen.tensors))
    everything: dict[str, list[NDArray[Any]]] = {}
    for batch in batches:
        for name, values in run(batch).items():
            everything.setdefault(name, []).append(np.abs(values).reshape(-1))
    one, many = (
        collect(model, seen.tensors, batches, OPEN, nbytes=seen.nbytes, portion_bytes=size) for size in (1 << 30, 1)
    )
    for name, parts in everything.items():
        whole = np.concatenate(parts)
        assert one.histograms[name].total == whole.size
        assert one.histograms[name].largest == whole.max()
        np.testing.assert_array_equal(one.histograms[name].counts, many.histograms[name].counts)
    assert one.frames == 5


def test_channel_means() -> None:
    model, batches = residual_net(), frames(4)
    name = "stem_out"
    found = collect(model, (), batches, OPEN, nbytes={}, means=[name]).channel_means[name]
    run = OPEN(exposing(model, [name]))
    expected = np.mean([run(batch)[name].mean(axis=(0, 2, 3)) for batch in batches], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_run_returns_more_than_the_bound() -> None:
    model = chain(length=9)
    seen = view(model)
    most: list[int] = []
    opened = 0

    def watched(part: onnx.ModelProto) -> Run:
        nonlocal opened
        opened += 1
        inner = OPEN(part)

        def run(batch: NDArray[Any]) -> Outputs:
            outputs = inner(batch)
            most.append(sum(values.nbytes for values in outputs.values()))
            return outputs

        return run

    bound = 2 * 16 * 16 * 16 * 4
    collect(model, seen.tensors, frames(3), watched, nbytes=seen.nbytes, portion_bytes=bound)
    assert max(most) <= bound
    assert opened >= len(seen.tensors) // 2
    most.clear()
    pairs = [np.concatenate(frames(2))]
    collect(model, seen.tensors, pairs, watched, nbytes=seen.nbytes, portion_bytes=bound)
    assert max(most) <= bound


def test_portions_keep_order_and_bound() -> None:
    assert portions("abcd", {"a": 4, "b": 4, "c": 8, "d": 1}, 8) == [["a", "b"], ["c"], ["d"]]
    assert portions("ab", {}, 8) == [["a"], ["b"]]


def test_a_portion_leaves_out_what_it_does_not_need() -> None:
    part = exposing(residual_net(), ["stem_out"])
    assert [node.op_type for node in part.graph.node] == ["Cast", "Transpose", "Mul", "Conv"]
    assert len(part.graph.initializer) == 3


def test_no_frames_and_values_that_are_no_numbers() -> None:
    model = chain()
    seen = view(model)
    with pytest.raises(EngineError, match="no frames"):
        collect(model, seen.tensors, [], OPEN, nbytes=seen.nbytes)
    net = Net()
    broken = net.op("Log", net.op("Sub", net.image, net.image), name="log")
    model = net.model(net.conv(broken, (16, 3, 1, 1), "conv"))
    seen = view(model)
    with pytest.raises(EngineError, match=r"not finite.*'log_out'"):
        collect(model, seen.tensors, frames(1), OPEN, nbytes=seen.nbytes)


def test_a_rare_set_is_not_drowned() -> None:
    net = Net()
    model = net.model(net.conv(net.op("Relu", net.image, name="relu"), (16, 3, 1, 1), "conv"))
    seen = view(model)
    dark = [(batch // 16).astype(np.uint8) for batch in frames(40)]
    usual = calibrate(model, seen, {"usual": dark}, OPEN)
    both = calibrate(model, seen, {"usual": dark, "rare": frames(1)}, OPEN)
    mixed = calibrate(model, seen, {"all": [*dark, *frames(1)]}, OPEN)
    name = "relu_out"
    reach = {label: one.threshold(name, "percentile-99.9") for label, one in (("u", usual), ("b", both), ("m", mixed))}
    assert reach["b"] > 10 * reach["u"]
    assert reach["b"] >= reach["m"]
    plan = usual.plan(["conv"], default="minmax")
    assert both.saturation(plan)[0].clipped > 0.5
    assert usual.saturation(plan)[0].clipped == 0.0
    with pytest.raises(EngineError, match="no frames"):
        Calibration(seen, {}, "")


def test_the_cache_gives_back_the_same_thresholds_only_for_its_key() -> None:
    calibration = calibrated(residual_net())
    content = pack(calibration.histograms, "key")
    sets = unpack(content, "key")
    assert sets is not None
    again = Calibration(calibration.view, sets, calibration.model)
    nodes = calibration.view.defaults()
    assert again.plan(nodes) == calibration.plan(nodes)
    assert unpack(content, "other") is None
    assert unpack(content[: len(content) // 2], "key") is None
    assert unpack(b"", "key") is None
