# SPDX-License-Identifier: Apache-2.0
"""What TensorRT's inspector says, in the words of 8.6 and of 11, and which ONNX nodes are meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edged.bench.layers.inspector import Inspected, InspectedTensor, inspected, precision_of
from edged.bench.layers.names import nodes_of

# As 8.6 writes it: one text for format and type, control characters inside strings.
OLD = """{"Layers": [{
  "Name": "Reformatting CopyNode for Input Tensor 0 to conv1 + relu1 [profile 1]",
  "LayerType": "Reformat", "Origin": "REFORMAT",
  "Inputs": [{"Name": "image", "Location": "Device", "Dimensions": [2,3,8,8],
    "Format/Datatype": "Row major linear FP32"}],
  "Outputs": [{"Name": "Reformatted Input Tensor 0 to conv1 + relu1", "Location": "Device", "Dimensions": [2,3,8,8],
    "Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}],
  "TacticValue": "0x00000000000003ea", "StreamId": 0, "Metadata": ""
},{
  "Name": "conv1 + relu1 [profile 1]",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "Reformatted Input Tensor 0 to conv1 + relu1", "Dimensions": [2,3,8,8],
    "Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}],
  "Outputs": [{"Name": "r1", "Dimensions": [2,16,8,8],
    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
  "Weights": {"Type": "Half", "Count": 432}, "Bias": {"Type": "Half", "Count": 16},
  "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]"
},{
  "Name": "PWN(PWN(sigmoid1), mul1)", "LayerType": "PointWiseV2",
  "Inputs": [{"Name": "r1", "Dimensions": [-1,16,8,8], "Format/Datatype": "N/A due to dynamic shapes"}],
  "Outputs": [{"Name": "m1", "Dimensions": [-1,16,8,8], "Format/Datatype": "N/A due to dynamic shapes"}]
}], "Bindings": ["image", "m1"]}"""

# As 11 writes it: format and type apart, inputs and outputs of the engine as objects.
NEW: dict[str, Any] = {
    "Layers": [
        {
            "Name": "__mye1_myl0_0",
            "LayerType": "kgen",
            "Inputs": [
                {"Name": "image", "Dimensions": [2, 3, 8, 8], "Format": "Row major linear", "Datatype": "Float"}
            ],
            "Outputs": [{"Name": "__t1", "Dimensions": [2, 8, 8, 4], "Format": "Row major linear", "Datatype": "Int8"}],
            "Metadata": "[ONNX Layer: q1]\x1f[ONNX Layer: /model.0/act[1]/Mul]",
        },
        {
            "Name": "conv1_myl0_1",
            "LayerType": "conv",
            "Inputs": [{"Name": "__t1", "Dimensions": [2, 8, 8, 4], "Format": "Row major linear", "Datatype": "Int8"}],
            "Outputs": [{"Name": "c1", "Dimensions": [2, 8, 8, 16], "Format": "Row major linear", "Datatype": "Half"}],
            "Weights": {"Type": "Int8", "Count": 432},
            "Metadata": "[ONNX Layer: dq1]\x1e[ONNX Layer: conv1]",
        },
    ],
    "I/O Tensors": [{"Name": "image", "IOMode": "Input", "DataType": "Float", "Dimensions": [2, 3, 8, 8]}],
}


def test_version_8() -> None:
    reformat, convolution, pointwise = inspected(json.loads(OLD, strict=False))
    assert reformat.reformats
    assert reformat.origin == "REFORMAT"
    assert reformat.inputs == (InspectedTensor("image", "fp32", (2, 3, 8, 8)),)
    assert reformat.nbytes == 384 * 4 + 384 * 2
    assert not convolution.reformats
    assert (convolution.precision, convolution.weights) == ("fp16", ("fp16", 432))
    assert convolution.nodes == ("conv1", "relu1")
    assert convolution.nbytes == 2 * (384 + 2048 + 432)
    assert (pointwise.precision, pointwise.nbytes) == ("", None)


def test_version_11() -> None:
    first, convolution = inspected(NEW)
    assert first.nodes == ("q1", "/model.0/act[1]/Mul")
    assert (first.precision, first.nbytes) == ("fp32", 384 * 4 + 512)
    assert convolution.precision == "int8"
    assert convolution.outputs[0].precision == "fp16"
    assert convolution.nodes == ("dq1", "conv1")


def test_an_engine_without_details_gives_names() -> None:
    (layer,) = inspected({"Layers": ["conv1 + relu1"], "Bindings": []})
    assert layer == Inspected("conv1 + relu1")
    assert (layer.precision, layer.nbytes, layer.reformats) == ("", None, False)
    assert inspected({}) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Row major linear UINT8", "uint8"),
        ("BF16", "bf16"),
        ("Half(64,1:8,4)", "fp16"),
        ("Float", "fp32"),
        ("Row major linear INT32", "int32"),
        ("FP8E4M3", "fp8"),
        ("N/A due to dynamic shapes", ""),
    ],
)
def test_precisions(text: str, expected: str) -> None:
    assert precision_of(text) == expected


def test_indices_beside_the_data_are_not_the_precision() -> None:
    tensors = [{"Name": "i", "Datatype": "Int32"}, {"Name": "x", "Datatype": "Half"}]
    (layer,) = inspected({"Layers": [{"Name": "gather", "LayerType": "Gather", "Inputs": tensors}]})
    assert layer.precision == "fp16"


def test_names_tell_the_nodes_where_no_metadata_does() -> None:
    graph = ["cast", "conv1", "relu1", "conv2", "conv3", "sigmoid1", "mul1", "topk", "last", "node with + (odd)"]
    layers = [
        Inspected("Reformatting CopyNode for Input Tensor 0 to conv1 + relu1"),
        Inspected("conv1.weight + conv1 + relu1 [profile 1]"),
        Inspected("conv2 || conv3"),
        Inspected("PWN(PWN(sigmoid1), mul1)"),
        Inspected("{ForeignNode[cast...last]}"),
        Inspected("node with + (odd)"),
        Inspected("(Unnamed Layer* 5) [Shuffle]"),
    ]
    assert nodes_of(layers, graph) == [
        (),
        ("conv1", "relu1"),
        ("conv2", "conv3"),
        ("sigmoid1", "mul1"),
        ("cast", "topk", "last"),
        ("node with + (odd)",),
        (),
    ]


def test_metadata_goes_before_names() -> None:
    layers = [Inspected("conv1 + relu1", nodes=("conv1", "relu1", "of another graph"))]
    assert nodes_of(layers, ["conv1", "relu1"]) == [("conv1", "relu1")]
