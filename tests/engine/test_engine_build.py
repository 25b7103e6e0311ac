# SPDX-License-Identifier: Apache-2.0
"""Whole builds in this process: ONNX Runtime for real, TensorRT by one that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from support.engines import FACTS, FakeToolkit, Heard, request, write_model

from edged.engine.build import build
from edged.engine.key import Profile
from edged.engine.lookup import select
from edged.engine.manifest import Manifest, decode
from edged.engine.protocol import BuildRequest, Done, Note, Phase, Step
from edged.engine.store import model_folder
from edged.engine.toolkit import kept_bytes
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Workshop
from edged.errors import DeviceUnavailableError, EdgedError, EngineError
from edged.gpu.engines import ShapeRange
from edged.gpu.trt.build import BuildOptions, BuiltEngine
from edged.gpu.trt.progress import Progress
from edged.graph.builder import default_opset
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec

KERNEL = "the input step is computed by edged's own kernel"


def no_gpu(_request: BuildRequest) -> Workshop:
    raise DeviceUnavailableError("there is no GPU", where="opening GPU 0", remedy="install the driver")


def built(spec: Path, state: Path, toolkit: FakeToolkit | None = None, **fields: Any) -> tuple[Done, Manifest, Heard]:
    """Build; returns the end, the manifest and what was told."""
    heard = Heard()

    def workshop(asked: BuildRequest) -> Workshop:
        return no_gpu(asked) if toolkit is None else TrtWorkshop(toolkit, asked.plugins)

    done = build(request(spec, state, **fields), heard, workshop)
    manifest = decode((Path(done.folder) / "engine.json").read_bytes())
    assert not list(model_folder(state, "tiny").glob(".*"))
    assert toolkit is None or toolkit.closed
    return done, manifest, heard


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models")


def test_onnx_runtime_stores_the_prepared_graph(spec: Path, tmp_path: Path) -> None:
    done, manifest, heard = built(spec, tmp_path)
    assert done.built
    assert done.names == ("onnxruntime/fp32", "onnxruntime/auto")
    digest = spec_digest(load_spec(spec))
    graph = (tmp_path / "prepared" / digest / "graph.onnx").read_bytes()
    assert (Path(done.folder) / "engine.onnx").read_bytes() == graph
    assert manifest.chosen.why == (
        "TensorRT is not available here: there is no GPU",
        "ONNX Runtime computes in FP32",
    )
    assert [(tensor.name, tensor.role, tensor.shape) for tensor in manifest.tensors] == [
        ("frames", "input", (-1, 32, 48, 3)),
        ("classes", "output", (-1, 4, 2)),
    ]
    assert manifest.preprocessing["std"] == [0.5, 0.25, 0.5]
    assert [phase.name for phase in heard.of(Phase)][:2] == ["preparing the model", "looking at the device"]
    selection = select(tmp_path, "tiny", digest).require()
    assert selection.engine is not None
    assert selection.engine.key == done.key


def test_what_is_there_is_not_built_again_unless_forced(spec: Path, tmp_path: Path) -> None:
    first, before, _ = built(spec, tmp_path)
    again, after, _ = built(spec, tmp_path)
    assert (again.built, again.key, after) == (False, first.key, before)
    forced, newer, _ = built(spec, tmp_path, force=True)
    assert (forced.built, forced.key) == (True, first.key)
    assert newer.created_at > before.created_at
    (Path(first.folder) / "engine.onnx").write_bytes(b"broken")
    mended, _, _ = built(spec, tmp_path)
    assert mended.built


def test_tensorrt_gets_profiles_precision_options_and_the_timing_cache(spec: Path, tmp_path: Path) -> None:
    toolkit = FakeToolkit()
    options = {"workspace_mb": 64, "optimization_level": 1, "aux_streams": 0}
    done, manifest, heard = built(spec, tmp_path, toolkit, batches=((1, 2, 4), (5, 16, 32)), **options)
    assert done.names == ("tensorrt/fp16", "tensorrt/auto")
    (_, asked) = toolkit.built[0]
    # The kernel makes an image of each frame, in the layout that the builder likes best.
    assert asked.takes_image
    assert [dict(profile) for profile in asked.profiles] == [
        {"image": ShapeRange((1, 3, 32, 48), (2, 3, 32, 48), (4, 3, 32, 48))},
        {"image": ShapeRange((5, 3, 32, 48), (16, 3, 32, 48), (32, 3, 32, 48))},
    ]
    assert (asked.precision, asked.strongly_typed, asked.library_tactics) == ("fp16", False, False)
    assert (asked.workspace_bytes, asked.optimization_level, asked.aux_streams) == (64 << 20, 1, 0)
    assert (asked.timing_cache, (tmp_path / "timing.cache").read_bytes()) == (b"", b"+")
    assert manifest.max_batch == 32
    assert manifest.fields.gpu == "Orin"
    assert manifest.memory.weights == 2000
    assert manifest.memory.activations == (1000, 1000)
    assert manifest.memory.io == 32 * (32 * 48 * 3 + 4 * 2 * 4)
    assert manifest.versions["tensorrt"] == "10.3.0"
    assert [(step.done, step.total) for step in heard.of(Step)] == [(0, 2), (1, 2), (2, 0)]
    digest = spec_digest(load_spec(spec))
    assert select(tmp_path, "tiny", digest, facts=FACTS, max_batch=32).require().backend == "tensorrt"
    second = FakeToolkit()
    built(spec, tmp_path, second, precision="fp32")
    assert second.built[0][1].timing_cache == b"+"


def test_every_option_that_matters_makes_another_engine(spec: Path, tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    library.write_bytes(b"ops")
    fields: list[dict[str, Any]] = [
        {},
        {"precision": "tf32"},
        {"precision": "fp32"},
        {"batches": ((1, 1, 1),)},
        {"workspace_mb": 100},
        {"optimization_level": 5},
        {"aux_streams": 1},
        {"plugins": (str(library),)},
    ]
    keys = {built(spec, tmp_path, FakeToolkit(), **one)[0].key for one in fields}
    other = FakeToolkit(msgspec.structs.replace(FACTS, gpu="Thor"))
    keys.add(built(spec, tmp_path, other)[0].key)
    assert len(keys) == len(fields) + 1


def test_a_dynamic_size_becomes_the_shapes_of_the_profile(tmp_path: Path) -> None:
    size = "{min = [20, 20], opt = [50, 90], max = [100, 100], multiple = 16}"
    _, manifest, _ = built(write_model(tmp_path / "models", size), tmp_path, FakeToolkit())
    assert manifest.fields.profiles == (Profile((1, 4, 8), (32, 48, 96), (32, 96, 96)),)


def test_a_fixed_batch_is_the_only_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_model(tmp_path / "models")
    prepared = build.__globals__["prepare"]
    fixed = lambda *given: msgspec.structs.replace(prepared(*given), fixed_batch=4)  # noqa: E731
    monkeypatch.setitem(build.__globals__, "prepare", fixed)
    _, manifest, heard = built(spec, tmp_path, FakeToolkit(), batches=((1, 8, 8),))
    assert manifest.fields.profiles[0].batch == (4, 4, 4)
    assert (manifest.fixed_batch, manifest.max_batch) == (4, 4)
    assert any("takes batches of 4 only" in note.text for note in heard.of(Note))


@pytest.mark.parametrize(("free", "batch"), [(1 << 20, 1), (66 << 20, 16), (67 << 20, 32), (1 << 30, 128)])
def test_max_batch_auto_follows_the_free_memory(spec: Path, tmp_path: Path, free: int, batch: int) -> None:
    # For each of two slots a frame takes 4.5 KiB as uint8, and as float32 twice 18 KiB: before and after a transpose.
    toolkit = FakeToolkit(free=free)
    _, manifest, heard = built(spec, tmp_path, toolkit, max_batch="auto", workspace_mb=64)
    assert manifest.max_batch == batch
    assert any("max batch" in note.text for note in heard.of(Note))


def test_a_newer_opset_is_lowered_and_the_engine_says_so(tmp_path: Path) -> None:
    toolkit = FakeToolkit(opset=17)
    _, manifest, _ = built(write_model(tmp_path / "models", opset=20), tmp_path, toolkit)
    (graph, _) = toolkit.built[0]
    assert default_opset(graph) == 17
    assert manifest.conversions == ("opset 20 to 17, the newest that tensorrt 10.3.0 takes", KERNEL)


def test_an_operator_too_new_for_the_parser_is_refused_with_the_remedy(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "models", opset=18, operator="Mish")
    with pytest.raises(EngineError, match="cannot be converted to 17, which the builder takes: Mish") as caught:
        built(spec, tmp_path, FakeToolkit(opset=17))
    assert "export the model again with opset 17" in caught.value.remedy


def test_operators_that_tensorrt_lacks_are_listed_before_the_build(tmp_path: Path) -> None:
    toolkit = FakeToolkit(lacks=["Softsign", "TopK"])
    spec = write_model(tmp_path / "models", operator="Softsign")
    with pytest.raises(EngineError, match=r"lacks operators of the model: Softsign \(in 1 nodes\), TopK") as caught:
        built(spec, tmp_path, toolkit)
    assert caught.value.where == str(spec.with_suffix(".onnx"))
    assert "--plugin" in caught.value.remedy
    assert not toolkit.built
    assert toolkit.closed


def test_a_strongly_typed_builder_gets_a_graph_in_float16_with_a_float32_output_step(
    spec: Path, tmp_path: Path
) -> None:
    toolkit = FakeToolkit(strongly_typed=True)
    _, manifest, _ = built(spec, tmp_path, toolkit)
    (graph, asked) = toolkit.built[0]
    assert asked.strongly_typed
    types = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    assert types["w"] == onnx.TensorProto.FLOAT16
    assert graph.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert manifest.conversions == (KERNEL, "float16 from the input step to the end of the model")
    plain = FakeToolkit(strongly_typed=True)
    built(spec, tmp_path, plain, precision="fp32")
    types = {tensor.name: tensor.data_type for tensor in plain.built[0][0].graph.initializer}
    assert types["w"] == onnx.TensorProto.FLOAT


def test_a_builder_that_can_do_both_types_strongly_what_holds_float16(spec: Path, tmp_path: Path) -> None:
    for precision, typed in [("fp16", True), ("fp32", False), ("tf32", False)]:
        toolkit = FakeToolkit(strongly_typed=True, weakly_typed=True)
        built(spec, tmp_path, toolkit, precision=precision)
        assert toolkit.built[0][1].strongly_typed == typed
        assert toolkit.built[0][1].float_layers == ("edged/output/",)


def test_what_cannot_be_built_strongly_typed_is_built_otherwise_and_said(spec: Path, tmp_path: Path) -> None:
    class Picky(FakeToolkit):
        def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
            if options.strongly_typed:
                raise EngineError("no types for node 7", where=str(model))
            return super().build(model, options, progress)

    toolkit = Picky(strongly_typed=True, weakly_typed=True)
    _, manifest, heard = built(spec, tmp_path, toolkit)
    assert manifest.conversions == (
        KERNEL,
        "weakly typed, since strongly typed it cannot be built: no types for node 7",
    )
    assert any("types are left to TensorRT" in note.text for note in heard.of(Note))
    types = {tensor.name: tensor.data_type for tensor in toolkit.built[0][0].graph.initializer}
    assert types["w"] == onnx.TensorProto.FLOAT
    with pytest.raises(EngineError, match="no types for node 7"):
        built(spec, tmp_path / "other", Picky(strongly_typed=True))


@pytest.mark.parametrize("strongly_typed", [False, True])
def test_a_graph_with_q_dq_is_int8(tmp_path: Path, strongly_typed: bool) -> None:
    spec = write_model(tmp_path / "models", quantized=True)
    toolkit = FakeToolkit(strongly_typed=strongly_typed)
    done, manifest, _ = built(spec, tmp_path, toolkit)
    assert done.names == ("tensorrt/int8", "tensorrt/auto")
    assert manifest.chosen.why[-1] == "the graph holds Q/DQ nodes"
    with pytest.raises(EngineError, match="its engine is int8 and not fp16"):
        built(spec, tmp_path, FakeToolkit(), precision="fp16")
    assert built(spec, tmp_path, backend="onnxruntime")[1].fields.precision == "int8"


@pytest.mark.parametrize(
    ("fields", "words", "code"),
    [
        ({"precision": "int8"}, "comes with calibration", 78),
        ({"precision": "fp16", "backend": "onnxruntime"}, "has no fp16", 78),
        ({"precision": "fp16"}, "there is no GPU", 69),
        ({"backend": "tensorrt"}, "there is no GPU", 69),
        ({"backend": "onnxruntime", "plugins": ("/x.so",)}, "plugin library cannot be read", 78),
        ({"backend": "onnxruntime", "plugins": (__file__,)}, "holds no operators for ONNX Runtime", 78),
    ],
)
def test_what_cannot_be_built_is_refused(
    spec: Path, tmp_path: Path, fields: dict[str, Any], words: str, code: int
) -> None:
    with pytest.raises(EdgedError, match=words) as caught:
        built(spec, tmp_path, **fields)
    assert caught.value.exit_code == code
    assert not list(model_folder(tmp_path, "tiny").iterdir())


def test_a_failed_build_leaves_the_engine_before_it(spec: Path, tmp_path: Path) -> None:
    before, _, _ = built(spec, tmp_path, FakeToolkit())
    failing = FakeToolkit(failure=EngineError("cannot build node 7", remedy="try again"))
    with pytest.raises(EngineError, match="cannot build node 7") as caught:
        built(spec, tmp_path, failing, force=True)
    assert caught.value.where == str(spec.with_suffix(".onnx"))
    assert failing.closed
    digest = spec_digest(load_spec(spec))
    after = select(tmp_path, "tiny", digest, facts=FACTS).require()
    assert after.engine is not None
    assert after.engine.key == before.key


def test_a_timing_cache_that_cannot_be_kept_costs_no_engine(spec: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    heard = Heard()
    asked = msgspec.structs.replace(request(spec, tmp_path), timing_cache=str(nowhere / "cache"))
    with pytest.raises(EdgedError, match="timing cache cannot be read"):
        build(asked, heard, lambda given: TrtWorkshop(FakeToolkit(), given.plugins))
    nowhere.unlink()
    nowhere.symlink_to("/proc/nothing")
    done = build(asked, heard, lambda given: TrtWorkshop(FakeToolkit(), given.plugins))
    assert done.built
    assert any("timing cache cannot be written" in note.text for note in heard.of(Note))


def test_weights_that_the_gpu_does_not_show_are_as_large_as_the_plan() -> None:
    assert kept_bytes(10 << 20, 4 << 20, 100) == 6 << 20
    assert kept_bytes(10 << 20, 10 << 20, 100) == 100
    assert kept_bytes(4 << 20, 10 << 20, 100) == 100, "somebody else has let go of some"
