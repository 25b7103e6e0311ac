# SPDX-License-Identifier: Apache-2.0
"""A trained model as an ONNX file that tells nothing of where it was made. Needs PyTorch (extra ``train``)."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 17
INPUT, OUTPUT, BATCH = "image", "scores", "batch"


def export(model: nn.Module, path: Path, size: tuple[int, int], output: tuple[int, ...]) -> None:
    """Write a model as ONNX: batch norms folded in, only the batch dynamic.

    Args:
        model: takes float32 [n, 3, height, width], in evaluation mode.
        path: of the file; its name without the suffix becomes the graph's.
        size: height, width in pixels.
        output: shape of the output without the batch.
    """
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, *size),),
        path,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
        opset_version=OPSET,
        dynamo=False,
    )
    network = onnx.load(path)
    clean(network, path.stem, output)
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, path)


def clean(network: onnx.ModelProto, name: str, output: tuple[int, ...]) -> None:
    """Plain names and constants, a full output shape; no doc strings and metadata, which tell of Python scopes.

    Args:
        network: changed in place; inputs and outputs keep their names.
        name: of the graph.
        output: shape of the output without the batch.
    """
    graph = network.graph
    network.producer_name, network.producer_version, network.doc_string = "edged", "", ""
    graph.name, graph.doc_string = name, ""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        graph.initializer.append(node.attribute[0].t)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)
    ends = [value.name for value in (*graph.input, *graph.output)]
    names = {"": "", **{name: name for name in ends}}
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
        names.setdefault(node.output[0], f"{node.name}_output")
    for number, tensor in enumerate(graph.initializer):
        tensor.name = names.setdefault(tensor.name, f"constant_{number}")
    for node in graph.node:
        node.input[:], node.output[:] = [names[one] for one in node.input], [names[one] for one in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    del network.metadata_props[:], graph.value_info[:]
    for dimension, wanted in zip(graph.output[0].type.tensor_type.shape.dim[1:], output, strict=True):
        dimension.dim_value = wanted
