# SPDX-License-Identifier: Apache-2.0
"""Parts of the chain: TensorRT's way through it, the bound for production, the float form, images held out, batches."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from support.chains import HARD, Rig, write_rig
from support.engines import FakeToolkit, request
from support.evaluation import write_images
from support.rtx import RtxToolkit, rtx_library

from edged.engine.chain import sampled as sampling
from edged.engine.chain.agreeing import bound_of
from edged.engine.chain.float_form import float_form
from edged.engine.chain.material import hold_out
from edged.engine.chain.racing import batch_weights, decisive, in_pipeline
from edged.engine.chain.work import Work
from edged.engine.evaluate.alike import overlap
from edged.engine.images import survey
from edged.engine.key import EngineKey, Profile
from edged.engine.manifest import GpuMemory
from edged.engine.options import parse, request_for
from edged.engine.protocol import BuildRequest, Event, Note
from edged.engine.race.entrant import Limits
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Job, Made, Workshop
from edged.errors import EngineError, UsageError
from edged.graph.prepare import prepare
from edged.model_file import load_spec

SHORT = functools.partial(in_pipeline, limits=Limits(seconds=3.0, turn_s=0.01, rounds=2, most_rounds=2))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return write_rig(tmp_path)


def test_tensorrt_builds_all_three_and_int8_has_q_and_dq(rig: Rig) -> None:
    toolkit = FakeToolkit()
    done, manifest, _ = rig.build(
        backend="tensorrt", precision="auto", tensorrt=lambda asked: TrtWorkshop(toolkit), race=SHORT
    )
    assert [options.precision for _, options in toolkit.built] == ["fp32", "fp16", "int8"]
    graph, options = toolkit.built[2]
    assert options.takes_image
    assert not options.strongly_typed
    readers = {node.name: node.input[0] for node in graph.graph.node if node.op_type == "Conv"}
    assert readers["hot"].endswith("/dq")
    assert not readers[HARD].endswith("/dq")
    assert [one.precision for one in manifest.candidates] == ["fp32", "fp16", "int8"]
    assert all(one.accuracy and one.latency_ms for one in manifest.candidates)
    assert "tensorrt/auto" in done.names
    assert {f"tensorrt/{name}" for name in ("fp32", "fp16", "int8")} <= {*done.names, *done.others}
    assert toolkit.closed
    forced, manifest, _ = rig.build(
        backend="tensorrt", precision="fp16", tensorrt=lambda asked: TrtWorkshop(FakeToolkit()), force=True
    )
    assert manifest.evaluation is not None
    assert forced.names == ("tensorrt/fp16",)


def test_an_int8_engine_that_cannot_be_built_leaves_the_others(rig: Rig) -> None:
    class NoInt8(FakeToolkit):
        def build(self, model: Path, options, progress):  # type: ignore[no-untyped-def]
            if options.precision == "int8":
                raise EngineError("no kernel", where=str(model))
            return super().build(model, options, progress)

    def tensorrt(asked: BuildRequest) -> Workshop:
        return TrtWorkshop(NoInt8())

    done, manifest, _ = rig.build(backend="tensorrt", precision="auto", tensorrt=tensorrt, race=SHORT)
    assert manifest.candidates[2].note == "int8 (75%): it cannot be built: no kernel"
    assert "tensorrt/int8" not in {*done.names, *done.others}
    with pytest.raises(EngineError, match="no kernel"):
        rig.build(backend="tensorrt", precision="int8", tensorrt=tensorrt)


def test_the_plan_in_float16_is_built_by_tensorrt_rtx(rig: Rig) -> None:
    toolkit = RtxToolkit(rtx_library())
    done, manifest, _ = rig.build(backend="tensorrt", tensorrt=lambda asked: TrtWorkshop(toolkit))
    ((graph, options, built),) = toolkit.built
    assert options.strongly_typed
    assert manifest.int8 is not None
    assert manifest.int8.share > 0.7
    assert built.plan
    scales = {one.name: one for one in graph.graph.initializer if one.name.endswith("/scale")}
    assert scales
    assert all(one.data_type == onnx.TensorProto.FLOAT16 for one in scales.values())
    assert done.names == ("tensorrt/int8", "tensorrt/auto")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 100), max_size=40))
def test_the_bound_for_production_lies_below_what_was_seen_and_can_be_left_again(points: list[float]) -> None:
    bound = bound_of(points)
    if not points:
        assert bound is None
        return
    mean = sum(points) / len(points)
    assert bound is not None
    assert bound == 0.0 or bound <= mean - 1.0 + 1e-9
    # Where an alarm ends, see `edged.stages.verify.window.Alarm`.
    assert bound == 0.0 or bound + (100.0 - bound) / 5 <= mean + 1e-6


def test_the_float_form_rounds_nothing() -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 1, (4, 3, 1, 1)), "s": np.array(0.5), "t": np.array(0.25)}
    constants = [numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items()]
    constants.append(numpy_helper.from_array(np.array(0, np.int8), "z"))
    constants.append(numpy_helper.from_array(rng.integers(-9, 9, (4, 4, 1, 1)).astype(np.int8), "v8"))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("QuantizeLinear", ["w", "t", "z"], ["wq"]),
        helper.make_node("DequantizeLinear", ["wq", "t", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["y"]),
        helper.make_node("DequantizeLinear", ["v8", "t", "z"], ["v"]),
        helper.make_node("Conv", ["y", "v"], ["out"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, c, 2, 2]) for name, c in (("x", 3), ("out", 4))
    ]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = float_form(model)
    assert [node.op_type for node in found.graph.node] == ["Conv", "DequantizeLinear", "Conv"]
    assert len(model.graph.node) == 7, "the model itself stays"
    x = rng.normal(0, 1, (1, 3, 2, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
    v = numpy_helper.to_array(constants[-1]).astype(np.float32)[:, :, 0, 0] * 0.25
    first = np.einsum("oc,nchw->nohw", weights["w"][:, :, 0, 0], x)
    np.testing.assert_allclose(
        session.run(None, {"x": x})[0], np.einsum("oc,nchw->nohw", v, first), rtol=1e-4, atol=1e-4
    )


def test_what_is_held_out_looks_like_nothing_that_calibrates(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 24)
    for number in range(8):
        shutil.copy(tmp_path / "a" / f"{number:02}.png", tmp_path / "a" / f"copy{number}.png")
    found = survey([tmp_path / "a"])
    rest, judging = hold_out(found)
    assert len(judging.images) >= 6
    assert len(rest.images) + len(judging.images) == 32
    assert overlap(judging.images, rest.images) == ((), ())
    assert hold_out(found)[1] == judging
    alone = survey([write_images(tmp_path / "b", 1)])
    with pytest.raises(EngineError, match="none can be held out"):
        hold_out(alone)


@pytest.mark.parametrize(
    ("sources", "most", "batches", "expected"),
    [
        (None, None, None, {1: 1.0}),
        (None, 4, None, {1: 1.0, 4: 1.0}),
        ((2, 0), 4, None, {1: 0.0, 2: 1.0, 4: 0.0}),
        ((0, 1), 4, (1, 8, 16), {1: 0.0, 4: 1.0}),
        (None, None, (1, 8, 16), {1: 1.0, 8: 1.0}),
        ((1, 0), None, (2, 8, 16), {2: 1.0, 8: 0.0}),
    ],
)
def test_the_race_is_over_the_batches_that_come(
    rig: Rig,
    sources: tuple[int, int] | None,
    most: int | None,
    batches: tuple[int, int, int] | None,
    expected: dict[int, float],
) -> None:
    spec = load_spec(rig.spec)
    asked = request(rig.spec, rig.state, sources=sources, max_batch=most)
    job = Job(asked, spec, prepare(spec, rig.state / "prepared"), rig.folder, lambda event: None)
    profiles = () if batches is None else (Profile(batches, (32, 32, 32), (48, 48, 48)),)
    key = EngineKey(model="m", precision="fp32", backend="tensorrt", runtime="r", profiles=profiles)
    weights = batch_weights(job, key)
    assert weights == expected
    assert decisive(weights) == max(size for size, weight in expected.items() if weight)


def test_an_engine_that_was_built_is_found_again_unless_it_is_broken(tmp_path: Path) -> None:
    work = Work(tmp_path, "net")
    key = EngineKey(model="m", precision="fp16", backend="tensorrt", runtime="r")
    assert work.engine(key) is None
    made = Made(b"plan", (), 4, GpuMemory(weights=3, activations=(1, 2)), layers=7, conversions=("one",))
    assert work.keep(key, made) == ""
    assert work.engine(key) == made
    (path,) = work.folder.glob("*.bin")
    path.write_bytes(b"plam")
    assert work.engine(key) is None
    work.done()
    assert not work.folder.exists()


def test_a_source_is_sampled_once_for_a_build_that_is_killed(rig: Rig) -> None:
    told: list[Event] = []
    spec = load_spec(rig.spec)
    source = f"dir://{rig.calib}"
    first = sampling.sampled(rig.request(calibrate=(), source=source), spec, told.append)
    (folder,) = first.trust.calibrate
    assert len(list(Path(folder).glob("*.png"))) == 40
    assert f"--calibrate {folder}" in [event.text for event in told if isinstance(event, Note)][-1]
    again = sampling.sampled(rig.request(calibrate=(), source=source), spec, told.append)
    assert again.trust.calibrate == (folder,)
    assert again.trust.source == ""
    Work(rig.state, "net").done()
    assert sampling.sampled(rig.request(calibrate=(), source=source), spec, told.append).trust.calibrate != (folder,)


def test_the_flags(tmp_path: Path) -> None:
    text = (
        "m.toml --calibrate a b --calibrate c --evaluate v --labels l.json --bound 0 --calibrator minmax "
        "--no-search --keep-float x* --search-minutes 2 --memory-mb 512"
    )
    found = request_for(parse(text.split()), {"HOME": str(tmp_path)})
    here = str(Path.cwd())
    trust = found.trust
    assert trust.calibrate == tuple(f"{here}/{name}" for name in "abc")
    assert (trust.evaluate, trust.labels) == ((f"{here}/v",), f"{here}/l.json")
    assert (trust.bound, trust.calibrator, trust.search, trust.keep_float) == (0.0, "minmax", False, ("x*",))
    assert (trust.search_s, found.memory_mb, found.sources) == (120.0, 512, None)
    sampled = request_for(parse(["m.toml", "--calibrate-from", "rtsp://u:p@h/s", "--minutes", "0.5"]), {"HOME": "/h"})
    assert (sampled.trust.source, sampled.trust.minutes) == ("rtsp://u:p@h/s", 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m.toml --labels l.json", "give --evaluate DIR"),
        ("m.toml --minutes 3", "give --calibrate-from SOURCE"),
        ("m.toml --recipe r.json --calibrate a", "nothing to calibrate"),
        ("m.toml --bound -1", "expected a number from 0"),
        ("m.toml --bound x", "expected a number from 0 to 100, found 'x'"),
        ("m.toml --calibrate-from s --minutes 0", "more than 0"),
    ],
)
def test_flags_that_say_nothing_together(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text.split())
    assert words.replace("'", "") in str(caught.value).replace("'", "").replace('"', "")


def test_what_a_daemon_serves_is_known_from_its_settings(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text(
        '[[sources]]\nname = "a"\nuri = "rtsp://h/s"\n[[sources]]\nname = "b"\nuri = "file:///c.mp4"\n'
        '[[sources]]\nname = "c"\nuri = "nonsense"\n[model]\nspec = "m.toml"\n[build]\nbound = 0.5\n'
    )
    found = request_for(parse(["m.toml", "--config", str(config)]), {"HOME": "/h"})
    assert found.sources == (2, 1)
    assert found.trust.bound == 0.5
