# SPDX-License-Identifier: Apache-2.0
"""Operators that no TensorRT has, as the parsers' own lists say; the installed one is asked by edged-build-engine."""

from __future__ import annotations

from collections import Counter

import onnx

from edged.engine.opset import nodes
from edged.engine.parsers import parser_opset
from edged.graph.builder import default_opset

OLDEST_TENSORRT = "8.6"
# fmt: off
LACKING = frozenset((
    "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "DFT", "Det",
    "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix",
    "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement",
    "QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss",
    "SplitToSequence", "StringNormalizer", "TfIdfVectorizer", "Unique",
))
# fmt: on
"""Not supported by the list of the parser of TensorRT 10.15, nor supported by that of 8.4."""
_DOMAINS = ("", "ai.onnx")


def doubts(model: onnx.ModelProto) -> list[str]:
    """What TensorRT would not take of a graph, in words; empty where nothing is known against it."""
    own = {function.name for function in model.functions}
    counts = Counter(
        node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
        for node in nodes(model.graph)
        if node.op_type in LACKING or (node.domain not in _DOMAINS and node.op_type not in own)
    )
    found = []
    if counts:
        names = ", ".join(f"{name} ({count} nodes)" if count > 1 else name for name, count in sorted(counts.items()))
        found.append(f"TensorRT has no {names}: it runs on ONNX Runtime only")
    opset, limit = default_opset(model), parser_opset("tensorrt", OLDEST_TENSORRT)
    if opset > limit:
        found.append(f"opset {opset}: TensorRT {OLDEST_TENSORRT} takes at most {limit}")
    return found
