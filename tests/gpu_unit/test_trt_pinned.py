# SPDX-License-Identifier: Apache-2.0
"""Which layers are pinned to float32, over a network that has the names of TensorRT's and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edged.gpu.trt.pinned import pin_to_float32

STEP = ("edged/output/",)


class Tensor(SimpleNamespace):
    """A tensor with its name, type and kind."""

    def __init__(self, name: str, dtype: str = "float", shape: bool = False) -> None:
        super().__init__(name=name, dtype=dtype, is_shape_tensor=shape)


class Layer:
    """A layer that keeps what it is told, and refuses what TensorRT refuses."""

    def __init__(self, name: str, inputs: list[str | None], *outputs: Tensor) -> None:
        self.name = name
        self.precision = ""
        self.types: dict[int, str] = {}
        self._inputs = inputs
        self._outputs = outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)

    def get_input(self, index: int) -> Tensor | None:
        name = self._inputs[index]
        return None if name is None else Tensor(name)

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]

    def set_output_type(self, index: int, dtype: str) -> None:
        assert self._outputs[index].dtype == "float", "the type of indices and shapes cannot be set"
        self.types[index] = dtype


def network(*layers: Layer) -> Any:
    return SimpleNamespace(num_layers=len(layers), get_layer=lambda index: layers[index])


def library(**flags: int) -> Any:
    return SimpleNamespace(float32="float", BuilderFlag=SimpleNamespace(**flags))


class Config(list[int]):
    """Keeps the flags that are set."""

    def set_flag(self, flag: int) -> None:
        self.append(flag)


@pytest.mark.parametrize("helper", ["ONNXTRT_Broadcast_7", "(Unnamed Layer* 7) [Shuffle]"])
def test_the_floats_of_the_output_step_are_pinned_and_nothing_else(helper: str) -> None:
    layers = [
        Layer("conv", ["frames"], Tensor("conv")),
        # One of the parser's additions that the model and the step read, and one that only the model reads.
        Layer("ONNXTRT_Broadcast_1", ["conv"], Tensor("shared")),
        Layer("last", ["shared"], Tensor("last")),
        Layer("edged/output/Shape_0", ["last"], Tensor("extent", "int")),
        Layer("ONNXTRT_ShapeSlice_3", ["extent"], Tensor("length", "int")),
        Layer("edged/output/TopK_1", ["last", "length", None], Tensor("best"), Tensor("where", "int")),
        Layer("edged/output/constant_0", [], Tensor("half")),
        Layer(helper, ["half"], Tensor("wide")),
        Layer("edged/output/Mul_2", ["best", "wide"], Tensor("boxes")),
        Layer("edged/output/Add_3", ["boxes", "shared"], Tensor("moved")),
        Layer("edged/output/Size_4", ["moved"], Tensor("size", shape=True)),
    ]
    config = Config()
    assert pin_to_float32(library(OBEY_PRECISION_CONSTRAINTS=5), network(*layers), config, STEP) == 5
    pinned = [layer.name for layer in layers if layer.precision]
    assert pinned == [
        "edged/output/TopK_1", "edged/output/constant_0", helper, "edged/output/Mul_2", "edged/output/Add_3",
    ]  # fmt: skip
    assert all(layer.precision == "float" and layer.types == {0: "float"} for layer in layers if layer.precision)
    assert config == [5]


def test_single_nodes_are_pinned_by_their_whole_names() -> None:
    layers = [Layer(name, ["x"], Tensor(f"{name}.y")) for name in ("Conv_35", "Conv_359", "edged/output/Mul_0")]
    names = ("Conv_35",)
    library_ = library(OBEY_PRECISION_CONSTRAINTS=5)
    assert pin_to_float32(library_, network(*layers), Config(), STEP, names) == 2
    assert [layer.precision for layer in layers] == ["float", "", "float"]
    assert pin_to_float32(library_, network(*layers[:2]), Config(), (), names) == 1


def test_without_constraints_or_without_layers_nothing_is_set() -> None:
    layer, config = Layer("edged/output/Mul_0", ["x"], Tensor("y")), Config()
    assert pin_to_float32(library(), network(layer), config, STEP) == 0
    assert pin_to_float32(library(OBEY_PRECISION_CONSTRAINTS=5), network(layer), config, ()) == 0
    assert pin_to_float32(library(OBEY_PRECISION_CONSTRAINTS=5), network(layer), config, ("other/",)) == 0
    assert (layer.precision, config) == ("", [])
