# SPDX-License-Identifier: Apache-2.0
"""edged's own way from a model spec to a plan, ending in a real parser and builder: TensorRT-RTX, without a GPU."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from support.data import write_yolox_spec
from support.engines import Heard, request, write_model
from support.qdq import write_quantized
from support.rtx import RtxToolkit, rtx_library

from edged.engine.build import build
from edged.engine.half import OUTPUT_STEP, quantized
from edged.engine.manifest import Manifest, decode
from edged.engine.protocol import Step
from edged.engine.steps import Steps
from edged.engine.trt_workshop import TrtWorkshop
from edged.errors import EngineError
from edged.gpu.engines import ShapeRange
from edged.gpu.trt import TensorRt
from edged.gpu.trt.build import BuildOptions, BuiltEngine
from edged.graph.prepare import PreparedModel, prepare
from edged.graph.sizes import size_bounds
from edged.model_file import load_spec

ASSETS = Path(__file__).resolve().parents[2] / "edged" / "assets"
Specs = Callable[[str], Path]
KERNEL = "the input step is computed by edged's own kernel"
MODELS = ["shapes", pytest.param("yolox-nano", marks=pytest.mark.data)]


@pytest.fixture(scope="module")
def library() -> TensorRt:
    return rtx_library()


@pytest.fixture(scope="module")
def q_dq(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """Specs whose models have Q/DQ nodes; each is made once."""

    @functools.cache
    def made(model: str) -> Path:
        folder = tmp_path_factory.mktemp(model)
        spec = spec_of(model, folder)
        given = load_spec(spec)
        write_quantized(given.onnx, folder / "q_dq.onnx", size_bounds(given.input)[1])
        text = spec.read_text("utf-8")
        named = next(line for line in text.splitlines() if line.startswith("onnx"))
        spec.write_text(text.replace(named, 'onnx = "q_dq.onnx"'), "utf-8")
        return spec

    return made


def spec_of(model: str, folder: Path) -> Path:
    """The model's spec in a folder."""
    if model == "yolox-nano":
        return write_yolox_spec(folder)
    for name in ("shapes.toml", "shapes.onnx", "shapes.names"):
        shutil.copy(ASSETS / name, folder)
    return folder / "shapes.toml"


def built(
    library: TensorRt, spec: Path, state: Path, precision: str
) -> tuple[Manifest, onnx.ModelProto, BuiltEngine, Heard]:
    """A whole build; the manifest, the graph that TensorRT got, what it made of it, and what was told."""
    toolkit, heard = RtxToolkit(library), Heard()
    asked = request(spec, state, backend="tensorrt", precision=precision, batches=((1, 2, 4),))
    done = build(asked, heard, lambda given: TrtWorkshop(toolkit, given.plugins))
    ((graph, _, result),) = toolkit.built
    return decode((Path(done.folder) / "engine.json").read_bytes()), graph, result, heard


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_built_in_fp32_and_in_fp16(model: str, library: TensorRt, tmp_path: Path) -> None:
    spec = spec_of(model, tmp_path)
    plain, graph, full, heard = built(library, spec, tmp_path, "fp32")
    assert plain.conversions == (KERNEL,)
    assert {tensor.name: tensor.dtype for tensor in plain.tensors} == {"frames": "uint8", "detections": "float32"}
    assert full.inputs[0].dtype == "FLOAT"
    assert any(step.total for step in heard.of(Step))
    smaller, graph, half, _ = built(library, spec, tmp_path, "fp16")
    assert smaller.conversions == (KERNEL, "float16 from the input step to the end of the model")
    assert half.inputs[0].dtype == "HALF"
    assert output_step_types(graph) == {TensorProto.FLOAT}
    # Nothing but the weights' type has changed the plan's size.
    assert len(half.plan) < len(full.plan)
    # The file begins with what the kernel has to know.
    assert 0 < smaller.size - len(half.plan) < 500


@pytest.mark.parametrize("model", MODELS)
def test_a_model_with_q_dq_is_built_in_int8(model: str, library: TensorRt, q_dq: Specs, tmp_path: Path) -> None:
    manifest, graph, engine, _ = built(library, q_dq(model), tmp_path, "auto")
    assert manifest.fields.precision == "int8"
    assert quantized(graph)
    assert output_step_types(graph) == {TensorProto.FLOAT}
    kinds = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    scales = {kinds[node.input[1]] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    assert scales == {TensorProto.FLOAT16}
    assert engine.layers > 100


@pytest.mark.parametrize("model", MODELS)
def test_a_model_with_q_dq_is_built_in_float32_too(model: str, library: TensorRt, q_dq: Specs, tmp_path: Path) -> None:
    prepared = prepare(load_spec(q_dq(model)), tmp_path / "prepared")
    options = BuildOptions(profiles=({"frames": frames(prepared)},), precision="int8", strongly_typed=True)
    engine = RtxToolkit(library).build(Path(prepared.path), options, Steps(Heard()))
    assert engine.layers > 100
    assert len(engine.plan) > 10_000


def test_what_the_parser_lacks_is_listed_before_the_build(library: TensorRt, tmp_path: Path) -> None:
    spec = write_model(tmp_path, operator="Bernoulli")
    with pytest.raises(EngineError, match=r"lacks operators of the model: Bernoulli \(in 1 nodes\)"):
        built(library, spec, tmp_path, "fp32")


def frames(prepared: PreparedModel) -> ShapeRange:
    """Batches of 1 to 4."""
    size = prepared.input_size
    return ShapeRange((1, *size, 3), (2, *size, 3), (4, *size, 3))


def output_step_types(graph: onnx.ModelProto) -> set[int]:
    """Types of the floats that the output step computes, as far as the graph itself tells."""
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True)
    own = {name for node in graph.graph.node if node.name.startswith(OUTPUT_STEP) for name in node.output}
    infos = [*inferred.graph.value_info, *inferred.graph.output]
    kinds = {info.type.tensor_type.elem_type for info in infos if info.name in own}
    return kinds & {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
