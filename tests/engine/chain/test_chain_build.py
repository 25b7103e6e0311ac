# SPDX-License-Identifier: Apache-2.0
"""Whole INT8 builds in this process, on ONNX Runtime: accepted, refused, and what becomes of bad images."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.chains import HARD, Rig, write_rig
from support.evaluation import write_images

from edged.engine.chain.considered import Considered
from edged.engine.chain.racing import Outcome, Race, Weights, in_pipeline
from edged.engine.explain import Question, explain
from edged.engine.lookup import select
from edged.engine.manifest import Manifest
from edged.engine.protocol import Event, Note, Phase, Verdict
from edged.engine.race.entrant import Limits
from edged.engine.report.candidate import Range, Timing
from edged.engine.store import model_folder, read_current, read_engine
from edged.engine.workshop import Workshop
from edged.errors import AccuracyRefusedError, DeviceUnavailableError, EngineError, SourceError
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return write_rig(tmp_path)


def notes(heard: Sequence[Event]) -> str:
    return "\n".join(event.text for event in heard if isinstance(event, Note))


def timed(ms: float, batch: int = 1) -> Timing:
    return Timing(
        batch=batch,
        latency_ms=Range(median=ms, low=ms, high=ms),
        frames_per_s=Range(median=1e3 / ms, low=1e3 / ms, high=1e3 / ms),
    )


def race(**ms: float) -> Race:
    """A race with known times by precision."""

    def run(_workshop: Workshop, candidates: Sequence[Considered], weights: Weights) -> Outcome:
        timings = {one.name: (timed(ms[one.precision]),) for one in candidates}
        able = [one for one in candidates if not one.refused]
        return Outcome(min(able, key=lambda one: ms[one.precision]).name, "it was faster", timings)

    return run


def current(rig: Rig) -> dict[str, str]:
    return dict(read_current(model_folder(rig.state, "net")).engines)


def test_int8_is_built_evaluated_and_current(rig: Rig) -> None:
    done, manifest, heard = rig.build()
    assert done.names == ("onnxruntime/int8", "onnxruntime/auto")
    assert manifest.int8 is not None
    assert manifest.evaluation is not None
    assert 0.7 < manifest.int8.share < 0.8, "the hard layer is given back"
    assert (manifest.int8.images, manifest.int8.layers) == (40, 4)
    assert manifest.evaluation.loss <= 1.0
    assert manifest.agreement_bound == 99.0
    assert manifest.fields.calibration is not None
    assert [one.precision for one in manifest.candidates] == ["fp32", "int8"]
    graph = onnx.load(Path(done.folder) / "engine.onnx")
    quantized = {node.name for node in graph.graph.node if node.input and node.input[0].endswith("/dq")}
    assert {"c0", "hot", "c3"} <= quantized
    assert HARD not in quantized
    page = (Path(done.folder) / "report.html").read_text()
    assert HARD in page
    (verdict,) = (event for event in heard if isinstance(event, Verdict))
    assert verdict.report == done.report == str(Path(done.folder) / "report.html")
    assert verdict.data.chosen is not None
    assert "points lost" in notes(heard)
    selection = select(rig.state, "net", spec_digest(load_spec(rig.spec)), "onnxruntime", "int8").require()
    assert selection.engine is not None
    assert selection.engine.key == done.key
    assert not (rig.state / "work" / "net").exists(), "nothing is left to go on with"


def test_the_same_again_is_there_already_and_anything_else_is_not(rig: Rig) -> None:
    first, _, _ = rig.build()
    again, _, heard = rig.build()
    assert (again.built, again.key, again.report) == (False, first.key, first.report)
    assert not any(event.name == "calibrating" for event in heard if isinstance(event, Phase))
    for changed in ({"bound": 2.0}, {"force": True}, {"keep_float": ("c3",)}):
        assert rig.build(**changed)[0].built
    rig.build()
    write_images(rig.val, 25, seed=7)
    assert rig.build()[0].built, "other images judge"


def test_auto_takes_the_fastest_and_keeps_the_others(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    done, manifest, _ = rig.build(precision="auto", race=race(fp32=2.0, int8=1.0))
    assert done.names == ("onnxruntime/int8", "onnxruntime/auto")
    assert done.others == ("onnxruntime/fp32",)
    assert manifest.candidates[1].latency_ms == {"1": 1.0}
    assert "INT8 was chosen: 2.00× the speed of FP32" in " ".join(manifest.chosen.why)
    beside = read_engine(model_folder(rig.state, "net"), current(rig)["onnxruntime/fp32"]).manifest
    assert "INT8 was chosen" in " ".join(beside.chosen.why)
    assert [one.key for one in manifest.candidates] == [beside.key, manifest.key]
    slow, manifest, _ = rig.build(precision="auto", force=True, race=race(fp32=1.0, int8=2.0))
    assert slow.names == ("onnxruntime/fp32", "onnxruntime/auto")
    assert "INT8 is slower on this device at batch 1 (2.00 ms against 1.00)" in " ".join(manifest.chosen.why)
    assert set(current(rig)) == {"onnxruntime/fp32", "onnxruntime/int8", "onnxruntime/auto"}

    def nobody() -> None:
        raise DeviceUnavailableError("no GPU")

    text, code = explain(Question(rig.spec, rig.state, "onnxruntime", "auto", nobody))  # type: ignore[arg-type]
    assert code == 0
    assert (
        "considered        int8 (75%): agreement 100.00, loss 0.00, error 0.00; 2 ms at batch 1; not the fastest"
        in text
    )


def test_auto_in_the_real_pipeline(rig: Rig) -> None:
    short = functools.partial(in_pipeline, limits=Limits(seconds=3.0, turn_s=0.01, rounds=3, most_rounds=3))
    _, manifest, _ = rig.build(precision="auto", race=short)
    assert all(set(one.latency_ms) == {"1"} for one in manifest.candidates)
    # Between two that take microseconds anything may win, and its reason says how.
    told = " ".join(manifest.chosen.why)
    assert any(words in told for words in ("is the fastest", "is no faster beyond the spread", "gains less than")), told


def test_a_plan_that_is_insisted_on_is_refused_with_what_would_hold(rig: Rig) -> None:
    rig.build(precision="auto", race=race(fp32=1.0, int8=2.0))
    before = current(rig)
    with pytest.raises(AccuracyRefusedError) as caught:
        rig.build(search=False, calibrator="minmax")
    text = str(caught.value)
    assert "INT8 as asked (100% of the multiply-adds) loses" in text
    assert f"most of the error comes from {HARD} (" in text
    assert "75% of the multiply-adds in INT8 lose 0.0 points" in text
    assert current(rig) == before
    page = (rig.state / "reports" / "net" / "refused.html").read_text()
    assert "No engine was chosen" in page
    assert "int8 (100%)" in page
    assert list((rig.state / "work" / "net").glob("search-*.jsonl")), "asking for less costs little"


def test_where_no_plan_holds_int8_is_refused_and_auto_goes_without(rig: Rig) -> None:
    alone = {"keep_float": ("c0", "hot", "c3", "head")}
    with pytest.raises(AccuracyRefusedError, match=rf"loses \d+.0 points at the least .*comes from {HARD}"):
        rig.build(**alone)
    assert not current(rig)
    done, manifest, _ = rig.build(precision="auto", **alone)
    assert done.names == ("onnxruntime/fp32", "onnxruntime/auto")
    assert "INT8 loses" in " ".join(manifest.chosen.why)
    assert manifest.candidates[1].note.startswith("int8 (20%): loses")
    assert not done.others


def test_images_are_held_out_where_none_are_given_to_judge(rig: Rig) -> None:
    write_images(rig.calib, 52, seed=1)
    _, manifest, heard = rig.build(evaluate=())
    assert "13 of the calibration images were held out and judge the result" in notes(heard)
    assert manifest.evaluation is not None
    assert manifest.evaluation.images == 13
    assert manifest.int8 is not None
    assert manifest.int8.images == 39
    assert rig.build(evaluate=())[0].built is False, "the same ones every time"


def test_a_stale_calibration_is_made_anew_and_said_why(rig: Rig) -> None:
    rig.build()
    _, _, heard = rig.build(bound=2.0)
    assert "the ranges of 40 images are known from before" in notes(heard)
    other = write_images(rig.folder / "other", 41, seed=9)
    shutil.copy(other / "40.png", rig.calib / "05.png")
    _, _, heard = rig.build()
    assert "cannot be used: images: 1 changed (calib/05.png)" in notes(heard)


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("two", EngineError, "2 images are too few"),
        ("one", EngineError, "of 40 images only 1 differ"),
        ("overlap", EngineError, "1 of 25 evaluation images are in the calibration set"),
        ("labels", EngineError, "the model knows 4 classes"),
        ("nothing", SourceError, "calib"),
        ("glob", EngineError, "no layer that can be quantized is named like x"),
    ],
)
def test_material_that_shows_nothing_is_refused(rig: Rig, case: str, error: type[Exception], words: str) -> None:
    fields: dict[str, object] = {}
    if case == "two":
        for path in sorted(rig.calib.iterdir())[2:]:
            path.unlink()
    elif case == "one":
        for path in sorted(rig.calib.iterdir())[1:]:
            shutil.copy(rig.calib / "00.png", path)
    elif case == "overlap":
        shutil.copy(rig.calib / "07.png", rig.val / "zz.png")
    elif case == "labels":
        table = rig.folder / "val.csv"
        table.write_text("file,class\n" + "".join(f"{n:02}.png,{n}\n" for n in range(24)))
        fields["labels"] = str(table)
    elif case == "nothing":
        shutil.rmtree(rig.calib)
        rig.calib.mkdir()
    else:
        fields["keep_float"] = ("x",)
    with pytest.raises(error, match=words):
        rig.build(**fields)
    assert not current(rig)


def test_labels_count(rig: Rig) -> None:
    table = rig.folder / "val.csv"
    table.write_text("file,class\n" + "".join(f"{n:02}.png,{n % 4}\n" for n in range(24)))
    _, manifest, _ = rig.build(labels=str(table), bound=20.0)
    assert manifest.evaluation is not None
    assert (manifest.evaluation.kind, manifest.evaluation.metric) == ("labels", "top-1")


def unquantizable() -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, 32, 48])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Tanh", ["means"], ["logits"]),
    ]
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "means", [image], [logits])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_without_anything_to_quantize(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, unquantizable())
    with pytest.raises(EngineError, match=r"nothing in the model can be computed in INT8.*ReduceMean"):
        rig.build()
    done, _, heard = rig.build(precision="auto")
    assert done.names == ("onnxruntime/fp32", "onnxruntime/auto")
    assert "INT8 is not considered: nothing in the model" in notes(heard)


def test_a_graph_that_holds_q_and_dq_is_only_evaluated(rig: Rig, tmp_path: Path) -> None:
    model = onnx.load(rig.folder / "net.onnx")
    for name, scale in (("hot_act", 1.0), ("c0_act", 0.02)):
        pair = [f"{name}.scale", f"{name}.zero"]
        model.graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), pair[0]))
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), pair[1]))
        at = next(i for i, node in enumerate(model.graph.node) if name in node.input)
        model.graph.node[at].input[0] = f"{name}.dq"
        model.graph.node.insert(at, helper.make_node("DequantizeLinear", [f"{name}.q", *pair], [f"{name}.dq"]))
        model.graph.node.insert(at, helper.make_node("QuantizeLinear", [name, *pair], [f"{name}.q"]))
    onnx.save(model, rig.folder / "net.onnx")
    with pytest.raises(AccuracyRefusedError, match="agreement, 1 allowed; quantize it again"):
        rig.build(precision="auto", calibrate=())
    done, manifest, _ = rig.build(precision="auto", bound=100.0)
    assert done.names == ("onnxruntime/int8", "onnxruntime/auto")
    assert manifest.evaluation is not None
    assert manifest.evaluation.loss > 1.0
    assert manifest.int8 is not None
    assert manifest.int8.method == "Q/DQ nodes of the file"


def test_a_recipe_builds_the_same_elsewhere_without_searching(rig: Rig) -> None:
    done, first, _ = rig.build()
    recipe = str(Path(done.folder) / "recipe.json")
    elsewhere = rig._replace(state=rig.folder / "elsewhere")
    proven, manifest, heard = elsewhere.build(calibrate=(), recipe=recipe)
    assert proven.key == done.key
    assert manifest.sha256 == first.sha256
    assert manifest.int8 is not None
    assert manifest.int8.recipe
    assert not any("comparing" in event.text for event in heard if isinstance(event, Note))
    trusted = rig._replace(state=rig.folder / "trusted")
    done, manifest, heard = trusted.build(
        calibrate=(), evaluate=(), recipe=recipe, precision="auto", race=race(fp32=2.0, int8=1.0)
    )
    assert "unproven here: without --evaluate the recipe's word is taken" in notes(heard)
    assert done.names == ("onnxruntime/int8", "onnxruntime/auto")
    again = rig._replace(state=rig.folder / "again")
    content = (Path(proven.folder) / "recipe.json").read_bytes()
    assert msgspec.json.decode(content)["plan"] == msgspec.json.decode(Path(recipe).read_bytes())["plan"]
    rig.spec.write_text(rig.spec.read_text().replace("32, 48", "32, 64"))
    onnx_file = onnx.load(rig.folder / "net.onnx")
    onnx_file.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 64
    onnx.save(onnx_file, rig.folder / "net.onnx")
    with pytest.raises(EngineError, match="the recipe is for another model"):
        again.build(calibrate=(), recipe=recipe)
    Path(recipe).write_text("{}")
    with pytest.raises(EngineError, match="is no recipe"):
        again.build(calibrate=(), recipe=recipe)


def test_an_outdated_engine_is_built_again_by_its_recipe(rig: Rig) -> None:
    done, _, _ = rig.build()
    path = Path(done.folder) / "engine.json"
    fields = json.loads(path.read_text())
    fields["max_batch"] = 4
    path.write_text(json.dumps(fields))
    digest = spec_digest(load_spec(rig.spec))
    found = select(rig.state, "net", digest, "onnxruntime", "int8", max_batch=8, spec=str(rig.spec))
    assert found.missing is not None
    assert found.missing.command.endswith(
        f"--precision int8 --state-dir {rig.state} --recipe {done.folder}/recipe.json"
    )


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    rig = write_rig(tmp_path)
    model = onnx.load(rig.folder / "net.onnx")
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value = 3
    # Something else for each frame of a batch: no other batch size can be made of it.
    (usual,) = [one for one in model.graph.initializer if one.name == "usual"]
    rows = numpy_helper.to_array(usual) + np.array([[0.0], [1.0], [2.0]], np.float32)
    usual.CopyFrom(numpy_helper.from_array(rows, "usual"))
    onnx.save(model, rig.folder / "net.onnx")
    _, manifest, _ = rig.build()
    assert isinstance(manifest, Manifest)
    assert manifest.evaluation is not None
    assert (manifest.evaluation.images, manifest.fixed_batch) == (24, 3)


def test_frames_without_variety_are_told_by_name(rig: Rig) -> None:
    for number in range(3):
        image = cv2.imread(str(rig.calib / "00.png"))
        assert image is not None
        cv2.imwrite(
            str(rig.calib / f"near{number}.png"), np.clip(image.astype(int) + number + 1, 0, 255).astype(np.uint8)
        )
    _, _, heard = rig.build()
    assert "3 of 43 calibration images look like others and add nothing: 3 look like calib/00.png" in notes(heard)
