# SPDX-License-Identifier: Apache-2.0
"""The checks for a real GPU, on the accounting one: they pass what is right and find what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.data import shared_data
from support.engines import FACTS, FakeToolkit, Heard, request

from edged.engine.build import build
from edged.engine.trt_workshop import TrtWorkshop
from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.graph.prepare import PreparedModel, prepare
from edged.model_file import load_spec
from edged.stages.infer.tensorrt import GpuOptions
from tools import gpu_check
from tools.gpu import broken, models, rungs, steady, table, whole
from tools.gpu.daemon import settings
from tools.gpu.fast import Alone, Pumped, host_time, ratio
from tools.gpu.killed import inconsistent, killed
from tools.gpu.loop_time import Measured, loop_time, machine_costs
from tools.gpu.numbers import check_numbers
from tools.gpu.results import NOTES, SkippedError, attempt, noted
from tools.gpu.rig import Model, Pipe
from tools.gpu.right import compare

FRAME = (*models.NUMBER_SIZE, 3)


def digits(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What the model of numbers computes."""
    frames = given["frames"]
    return {"digits": np.concatenate([frames[:, 0, 0], frames[:, -1, -1]], axis=1).astype(np.float32)}


class Rolled:
    """Now and then each frame gets its neighbour's result."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        self.calls += 1
        right = digits(given)["digits"]
        return {"digits": np.roll(right, 1, axis=0) if self.calls % 20 == 0 else right}


def engine_of(gpu: FakeGpu, function: Any) -> FakeEngine:
    tensors = [
        TensorInfo(
            "frames", True, "uint8", (-1, *FRAME), (batch_range((1, 4, 4), FRAME), batch_range((5, 8, 8), FRAME))
        ),
        TensorInfo("digits", False, "float32", (-1, 6)),
    ]
    return gpu.engine("number", tensors, function)


@pytest.mark.parametrize(("slots", "graphs"), [(2, True), (3, False)])
def test_right_numbers_pass(slots: int, graphs: bool) -> None:
    gpu = FakeGpu()
    engine = engine_of(gpu, digits)
    found = check_numbers(gpu, engine, GpuOptions(slots=slots, max_batch=8, graphs=graphs), batches=60)
    assert found.batches >= 60
    assert found.frames > found.batches
    assert (found.wrong, found.first, found.graph_failures) == (0, "", 0)
    engine.close()
    assert gpu.close() == ()


def test_results_of_another_frame_are_found() -> None:
    gpu = FakeGpu()
    found = check_numbers(gpu, engine_of(gpu, Rolled()), GpuOptions(slots=2, max_batch=8), batches=150)
    assert found.wrong > 0
    assert "not" in found.first


def test_the_model_reads_the_numbers_that_were_drawn(tmp_path: Path) -> None:
    models.export_number(tmp_path)
    prepared = prepare(load_spec(tmp_path / "number.toml"), tmp_path / "prepared")
    numbers = [0, 1, 199, 200, 40_000, 1_234_567, models.MOST - 1]
    frames = np.random.default_rng(0).integers(0, 256, (len(numbers), *FRAME), dtype=np.uint8)
    for frame, number in zip(frames, numbers, strict=True):
        models.draw(frame, number)
    session = onnxruntime.InferenceSession(prepared.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["digits"], {"frames": frames})
    assert models.read(found).tolist() == [[number, number] for number in numbers]
    assert np.abs(found - np.rint(found)).max() < 0.01


def loaded(gpu: FakeGpu, folder: Path) -> Model:
    models.export_number(folder)
    prepared: PreparedModel = prepare(load_spec(folder / "number.toml"), folder / "prepared")
    return Model(engine_of(gpu, digits), prepared)


def test_the_measurements_run(tmp_path: Path) -> None:
    gpu = FakeGpu()
    model = loaded(gpu, tmp_path)
    row = table.speed(gpu, model, 4, round_s=0.005, latencies=5)
    assert row["p99_ms"] >= row["p50_ms"] > 0
    scenes = table.scenes(40, FRAME[:2])
    found = ratio(gpu, model, 4, 3, round_s=0.005)
    assert found["pipeline-2"]["ratio"] > 0
    assert host_time(gpu, model, 20, frames=4)["pipeline_us"] > 0
    measured = Measured(gpu, model.engine, model.prepared.outputs, FRAME[:2], sources=4, feeders=2, busy=1)
    found = loop_time(measured, 40, lambda: gpu.advance(1000))
    assert found["loop_us"] >= found["executor_us"] > 0
    # Feeders are processes: on a busy machine a frame now and then misses its batch.
    assert 3.0 < found["batch"] <= 4.0
    assert found["busy"] == 1
    assert all(cost > 0 for cost in machine_costs(100).values())
    with ExitStack() as stack:
        assert Alone(gpu, model.engine, 8, stack).run(3) > 0
    with Pipe(gpu, model.engine, model.prepared.outputs, FRAME[:2], GpuOptions(max_batch=4)) as pipe:
        pumped = Pumped(pipe, 4, np.random.default_rng(0))
        assert pumped.run(9, lambda: 3) > 0
        noise = np.random.default_rng(1).integers(0, 256, (3, *FRAME), dtype=np.uint8)
    with Pipe(gpu, model.engine, model.prepared.outputs, FRAME[:2], GpuOptions(max_batch=4)) as pipe:
        assert np.array_equal(pipe.run(noise)["digits"], digits({"frames": noise})["digits"])
        assert np.array_equal(pipe.run(noise[:1])["digits"], digits({"frames": noise[:1]})["digits"])
    assert np.array_equal(table.scores(gpu, model, scenes, 8), digits({"frames": scenes})["digits"])
    model.engine.close()
    assert gpu.close() == ()


@pytest.mark.parametrize("name", ["truncated-store", "changed-store", "wrong-key", "other-device"])
def test_broken_stores_are_made_and_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models.export_number(tmp_path)
    wanted = request(tmp_path / "number.toml", tmp_path / "state", backend="tensorrt", precision="fp32")
    build(wanted, Heard(), lambda given: TrtWorkshop(FakeToolkit()))
    # There is no device to ask here.
    monkeypatch.setattr(broken, "device_facts", lambda index: FACTS)
    assert broken.one(tmp_path, name) == broken.CASES[name].code
    assert broken.CASES[name].words in capsys.readouterr().out


def test_detections_are_compared_as_sets() -> None:
    rows = np.array([[0, 0, 9, 9, 0.9, 1], [5, 5, 8, 8, 0.8, 2], [1, 1, 2, 2, 0.1, 0]])
    assert compare(rows[::-1], rows) == (0, 2, 0.0, 0.0)
    moved = rows + np.array([0.5, 0, 0, 0, 0, 0])
    assert compare(moved, rows)[:3] == (0, 2, 0.5)
    assert compare(rows[:1], rows)[0] == 1
    assert compare(rows + np.array([3, 0, 0, 0, 0, 0]), rows)[0] == 2
    assert compare(np.empty((0, 6)), rows)[0] == 2


def test_a_killed_build_leaves_a_whole_store(tmp_path: Path) -> None:
    models.export_number(tmp_path)
    found = killed(tmp_path, backend="onnxruntime", builds=4, lanes=1)
    assert found["problems"] == []
    assert found["killed"] + found["done_before"] == 4


def test_a_store_that_is_not_whole_is_found(tmp_path: Path) -> None:
    models.export_number(tmp_path)
    wanted = request(tmp_path / "number.toml", tmp_path / "state", backend="tensorrt", precision="fp32")
    build(wanted, Heard(), lambda given: TrtWorkshop(FakeToolkit()))
    folder = tmp_path / "state" / "engines" / "number"
    assert inconsistent(folder) == ""
    (plan,) = folder.glob("*/engine.plan")
    plan.write_bytes(plan.read_bytes()[:-1])
    assert "bytes instead of" in inconsistent(folder)


def test_growth_is_told_from_noise() -> None:
    watched = steady.Watched({"self": "self"})
    watched.look()
    assert watched.bytes["self"][0] > 1 << 20
    mib = 1 << 20
    watched.times = [float(second) for second in range(100)]
    watched.bytes = {
        "flat": [100 * mib + second % 2 * mib for second in range(100)],
        "start": [min(second, 15) * 10 * mib for second in range(100)],
        "leak": [second * mib for second in range(100)],
    }
    rows = watched.growth()
    assert {name: row["ok"] for name, row in rows.items()} == {"flat": True, "start": True, "leak": False}
    assert rows["leak"]["kib_a_minute"] == pytest.approx(60 * 1024)


def test_what_a_daemon_publishes_is_counted(tmp_path: Path) -> None:
    source = {"name": "a", "uri": "synthetic://shapes?cache=4", "mode": "lossless"}
    found = whole.published(settings(tmp_path / "state", "onnxruntime", [source]), 1.5, 0.3)
    assert found.frames_per_s > 10
    assert found.batch >= 1
    whole_folder = tmp_path / "nothing"
    with pytest.raises(SkippedError, match="people"):
        whole.clip(whole_folder)


@pytest.mark.data
def test_capture_processes_are_measured_alone() -> None:
    assert whole.capture_alone(whole.clip(shared_data() / "video"), 0.5, 1) > 10


def test_pieces_that_fail_or_cannot_be_shown_leave_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> dict[str, Any]:
        raise ValueError("no")

    def cannot() -> dict[str, Any]:
        raise SkippedError("needs a moon")

    notes = tmp_path / "notes"
    monkeypatch.setenv(NOTES, str(notes))
    results: dict[str, Any] = {}
    for name, work in (("bad", fails), ("gone", cannot), ("fine", lambda: {"ok": True, "target": "<= 1"})):
        attempt(results, name, work)
    assert noted(notes) == results
    text = gpu_check.table({"part": {"seconds": 1, "results": results}}).splitlines()
    assert [line.split()[0] for line in text[:3]] == ["WRONG", "skip", "ok"]
    assert not gpu_check.good(results)
    del results["bad"]
    assert gpu_check.good(results)


def test_without_a_gpu_every_part_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not gpu_check.lacking():
        pytest.skip("there is a GPU")
    monkeypatch.setenv("PYTHONPATH", "")  # it sets this for what it starts
    for part in gpu_check.PARTS:
        assert gpu_check.main([part, "--folder", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert f"skip  {part}" in said
        assert "GPU" in said
        assert (tmp_path / f"{part}.json").is_file()


def test_a_part_that_fails_is_wrong_in_the_table_and_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(gpu_check, "lacking", lambda: "")
    assert gpu_check.main(["steady", "--folder", str(tmp_path), "--seconds", "1"]) == 1
    said = capsys.readouterr().out
    assert "WRONG steady" in said
    assert (tmp_path / "steady.json").is_file()


def test_the_ladder_is_taken_from_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match="ladder"):
        rungs.ladder_module(tmp_path)
    (tmp_path / "ladder.py").write_text("STEPS = 7\n")
    assert rungs.ladder_module(tmp_path).STEPS == 7


def test_parts_of_all_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_check.main(["all", "--folder", "x", "--only", "fast,slow"])
    assert "no part slow" in capsys.readouterr().err


def test_the_table_tells_what_is_wrong() -> None:
    results = {"a": {"ok": True, "ms": 1.0}, "b": {"ok": False, "ms": 2.0}}
    assert not gpu_check.good(results)
    text = gpu_check.table({"fast": {"seconds": 3, "results": results}})
    assert [line[:5] for line in text.splitlines()] == ["ok   ", "WRONG", "     "]


def test_every_part_has_an_argument_parser(capsys: pytest.CaptureFixture[str]) -> None:
    for part in (*gpu_check.PARTS, "export", "all", "case"):
        with pytest.raises(SystemExit) as ended:
            gpu_check.main([part, "--help"])
        assert ended.value.code == 0
    assert "--folder" in capsys.readouterr().out
