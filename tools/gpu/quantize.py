# SPDX-License-Identifier: Apache-2.0
"""Explicit Q/DQ nodes as TensorRT wants them, by ONNX Runtime's quantizer and a repair of the residual branches.

Symmetric, weights per channel, inputs of operators and never their outputs. An addition keeps the branch that comes
from the convolution before it in float, so that TensorRT can compute convolution, addition and activation as one.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

QUANTIZED = ("Conv", "Add", "GlobalAveragePool")
_BATCH = 8


def normalised(frames: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What the input step makes of RGB frames ``n×H×W×3``: ``n×3×H×W``."""
    scaled = (frames.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def quantized(model: onnx.ModelProto, samples: NDArray[np.float32]) -> onnx.ModelProto:
    """The model with Q/DQ nodes whose scales come from the range (MinMax) of some inputs, ``n×3×H×W``."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    kinds = sorted({node.op_type for node in model.graph.node})
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "QuantizeBias": False,
        "DedicatedQDQPair": False,
        "ForceQuantizeNoInputCheck": True,
        "OpTypesToExcludeOutputQuantization": kinds,
        "QDQOpTypePerChannelSupportToAxis": {"Conv": 0},
        "QDQDisableWeightAdjustForInt32Bias": True,
    }
    with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        onnx.save(model, given)
        quantize_static(
            str(given),
            str(made),
            _reader(model.graph.input[0].name, samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        result = onnx.load(made)
    _free_main_branches(result.graph)
    _drop_unused(result.graph)
    _drop_domains(result)
    result.ir_version = model.ir_version
    onnx.checker.check_model(result)
    return result


def survey(model: onnx.ModelProto) -> dict[str, Any]:
    """What the Q/DQ nodes are on, to be held against what was wanted.

    Returns:
        ``nodes``: counts by type; ``convs``: how many, ``convs_quantized``: with both inputs from DequantizeLinear;
        ``adds``, ``adds_one_side``: with exactly one; ``asymmetric``: Q/DQ nodes whose zero point is not 0.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}

    def sides(node: onnx.NodeProto) -> int:
        found = [makers.get(name) for name in node.input[:2]]
        return sum(1 for maker in found if maker is not None and maker.op_type == "DequantizeLinear")

    convs = [node for node in graph.node if node.op_type == "Conv"]
    adds = [node for node in graph.node if node.op_type == "Add"]
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return {
        "nodes": dict(Counter(node.op_type for node in graph.node)),
        "convs": len(convs),
        "convs_quantized": sum(1 for node in convs if sides(node) == 2),
        "adds": len(adds),
        "adds_one_side": sum(1 for node in adds if sides(node) == 1),
        "asymmetric": sum(1 for node in pairs if len(node.input) > 2 and constants[node.input[2]].any()),
        "per_channel": sum(1 for node in pairs if constants[node.input[1]].size > 1),
    }


def as_wanted(found: dict[str, Any]) -> bool:
    """Whether a `survey` shows Q/DQ nodes as TensorRT wants them."""
    return bool(
        found["convs"] == found["convs_quantized"] > 0
        and found["adds"] == found["adds_one_side"]
        and found["asymmetric"] == 0
        and found["per_channel"] >= found["convs"]
    )


def _reader(name: str, samples: NDArray[np.float32]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self._parts = iter([samples[first : first + _BATCH] for first in range(0, len(samples), _BATCH)])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            part = next(self._parts, None)
            return None if part is None else {name: part}

    return Reader()


def _free_main_branches(graph: onnx.GraphProto) -> None:
    """Take the Q/DQ pair off that side of every addition that has the longest way from the input."""
    makers = {name: node for node in graph.node for name in node.output}
    depths: dict[str, int] = {}
    for node in graph.node:  # in topological order
        depth = 1 + max((depths.get(name, 0) for name in node.input), default=0)
        depths.update(dict.fromkeys(node.output, depth))
    for node in graph.node:
        if node.op_type != "Add":
            continue
        main = max(range(2), key=lambda side: depths.get(node.input[side], 0))
        dequantize = makers[node.input[main]]
        if dequantize.op_type == "DequantizeLinear":
            node.input[main] = makers[dequantize.input[0]].input[0]


def _drop_domains(model: onnx.ModelProto) -> None:
    """The quantizer names domains that no node is of, which older parsers refuse."""
    used = {node.domain for node in model.graph.node}
    for opset in [one for one in model.opset_import if one.domain not in used]:
        model.opset_import.remove(opset)


def _drop_unused(graph: onnx.GraphProto) -> None:
    while True:
        wanted = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
        unused = [node for node in graph.node if not wanted.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for constant in [one for one in graph.initializer if one.name not in wanted]:
        graph.initializer.remove(constant)
