# SPDX-License-Identifier: Apache-2.0
"""What children are told: everything they need, over the channel, with the right descriptors in the right order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.briefing_rig import DYNAMIC, SECRET, Told, close_fds, make_setup, report, same_files

from edged.errors import SourceError
from edged.records import FrameRecord
from edged.runtime import briefing
from edged.runtime.plans import CapturePlan, InferPlan, PreparePlan, PublishPlan, SourcePlan, VerifyPlan
from edged.stages.capture.fit import FitPlan
from edged.stages.postprocess.plan import PostprocessPlan


@pytest.mark.parametrize(
    ("engine", "found", "max_batch", "delay_ms"),
    [
        ({}, {}, 1, 0.0),
        ({}, {"batch": 4}, 4, 4.0),
        ({"max_batch": 2}, {"batch": 4}, 2, 4.0),
        ({"max_batch": 1, "max_delay_ms": 7.5}, {}, 1, 7.5),
        ({"max_batch": 8, "max_delay_ms": 0.0}, {}, 8, 0.0),
        ({"max_batch": 8}, {"fixed_batch": 1}, 1, 0.0),
        ({"max_batch": 2}, {"fixed_batch": 4}, 2, 4.0),
        ({"max_batch": 8}, {"max_batch": 4}, 4, 4.0),
    ],
)
def test_batch_and_delay_follow_from_settings_and_model(
    tmp_path: Path, engine: Any, found: Any, max_batch: int, delay_ms: float
) -> None:
    made = briefing.prepared(make_setup(tmp_path, engine=engine), report(**found))
    assert made.outputs.max_batch == max_batch
    assert made.max_delay_ns == delay_ms * 1e6
    assert made.outputs.slots == 4
    assert briefing.summary(made) == ("tiny", "onnxruntime", max_batch)
    health = briefing.engine_health(made, "gather")
    assert (health.id, health.engine, health.precision, health.io) == ("tiny", "0123456789abcdef", "fp32", "gather")


def test_a_gpu_takes_eight_at_a_time_unless_its_engine_takes_fewer(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    assert briefing.prepared(setup, report(backend="tensorrt")).outputs.max_batch == 8
    assert briefing.prepared(setup, report(backend="tensorrt", max_batch=32)).outputs.max_batch == 8
    assert briefing.prepared(setup, report(backend="tensorrt", max_batch=4)).outputs.max_batch == 4


@pytest.mark.parametrize("max_batch", [None, 3])
def test_the_batch_size_is_measured_only_where_none_is_given(tmp_path: Path, max_batch: int | None) -> None:
    setup = make_setup(tmp_path, engine={"max_batch": max_batch, "threads": 2})
    plan = msgspec.convert(briefing.prepare_plan(setup), PreparePlan)
    assert plan.measure is (max_batch is None)
    assert (plan.spec, plan.state_dir, plan.threads) == (f"{tmp_path}/tiny.toml", f"{tmp_path}/state", 2)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(make_setup(tmp_path))
    yield made
    made.rings.close()


def test_a_capture_process_gets_its_source_and_nobody_elses(told: Told) -> None:
    (note,) = told.notes("capture", 0)
    plan = msgspec.convert(note.body, CapturePlan)
    assert plan.uri == f"rtsp://user:{SECRET}@host/s"
    assert (plan.fps, plan.repeat, plan.decode, plan.skip, plan.row) == (10.0, False, "auto", 0, 2)
    rings = told.rings
    assert same_files(
        note.fds, [rings.frames[0].region.fd, rings.wake_infer.fd, rings.spaces[0].fd, rings.board.region.fd]
    )
    close_fds(note)


@pytest.mark.parametrize("size", ["[48, 64]", DYNAMIC])
def test_capture_fits_pictures_as_the_spec_says(tmp_path: Path, size: str) -> None:
    told = Told(make_setup(tmp_path, size=size))
    (note,) = told.notes("capture", 1)
    plan = msgspec.convert(note.body, CapturePlan)
    assert msgspec.convert(plan.fit, FitPlan) == FitPlan.from_input(told.setup.spec.input)
    assert plan.row == 3
    close_fds(note)
    told.rings.close()


def test_a_replaced_capture_process_goes_on_where_the_other_was(told: Told) -> None:
    for table in told.rings.frames:
        slot = table.acquire()
        assert slot is not None
        table.commit(slot, FrameRecord(0, 0, 1, 2, 64, 48, 64, 48), 0)
        table.count_broken()
    skips = []
    for source in range(3):
        (note,) = told.notes("capture", source)
        skips.append(note.body["skip"])
        close_fds(note)
    # A camera cannot go back, and a clip that is played in a loop need not.
    assert skips == [0, 0, 2]


def test_infer_gets_every_ring(told: Told) -> None:
    first, *others = told.notes("infer")
    plan = msgspec.convert(first.body, InferPlan)
    assert (plan.engine.path, plan.slots, plan.threads, plan.sources) == ("/state/graph.onnx", 2, 0, 3)
    assert (plan.max_delay_ns, plan.warm_up) == (4_000_000, [48, 64])
    assert plan.outputs == told.found.outputs
    rings = told.rings
    shared = [rings.outputs.region.fd, rings.wake_infer.fd, rings.wake_publish.fd, rings.board.region.fd]
    assert same_files(first.fds, shared)
    sources = [msgspec.convert(note.body, SourcePlan) for note in others]
    assert [(source.name, source.max_age_ns, source.priority) for source in sources] == [
        ("camera", 150_000_000, 3),
        ("round", None, 0),
        ("clip", None, 0),
    ]
    for index, note in enumerate(others):
        assert same_files(note.fds, [rings.frames[index].region.fd, rings.spaces[index].fd])
    close_fds(first, *others)


@pytest.mark.parametrize("on", [False, True])
def test_contexts_and_profiling_reach_those_whom_they_concern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support" / "fake_nvtx"))
    daemon = {"name": "gate", "state_dir": tmp_path / "state", "profile": on}
    told = Told(make_setup(tmp_path, engine={"slots": 3, "contexts": 2}, daemon=daemon))
    bodies = {}
    for role, source in (("infer", -1), ("publish", -1), ("capture", 0)):
        notes = told.notes(role, source)
        bodies[role] = notes[0].body
        close_fds(*notes)
    told.rings.close()
    assert [body["profile"] for body in bodies.values()] == [on] * 3
    assert bodies["infer"]["contexts"] == 2


def test_warm_up_is_at_the_size_engines_are_tuned_for(tmp_path: Path) -> None:
    told = Told(make_setup(tmp_path, size=DYNAMIC))
    notes = told.notes("infer")
    assert notes[0].body["warm_up"] == [48, 64]
    close_fds(*notes)
    told.rings.close()


def test_publish_gets_what_it_needs_and_no_credentials(told: Told) -> None:
    first, *others = told.notes("publish")
    plan = msgspec.convert(first.body, PublishPlan)
    assert (plan.bind, plan.device, plan.boot, plan.task) == (["tcp://127.0.0.1:5999"], "gate", "boot-1", "detection")
    assert plan.curve is None
    reading = msgspec.convert(plan.postprocess, PostprocessPlan)
    assert (reading.labels, reading.score_threshold, reading.resize, reading.nms) == (
        ("cat", "dog"),
        0.25,
        "stretch",
        True,
    )
    assert SECRET not in repr([note.body for note in (first, *others)])
    for index, note in enumerate(others):
        assert same_files(note.fds, [told.rings.frames[index].region.fd])
    close_fds(first, *others)


def test_end_to_end_models_have_done_their_own_nms(tmp_path: Path) -> None:
    told = Told(make_setup(tmp_path, decoder="end2end"))
    notes = told.notes("publish")
    assert notes[0].body["postprocess"]["nms"] is False
    close_fds(*notes)
    told.rings.close()


def test_key_files_travel_as_paths(tmp_path: Path) -> None:
    curve = {"secret_key_file": tmp_path / "key", "authorized_keys_dir": tmp_path}
    told = Told(make_setup(tmp_path, publish={"bind": ["tcp://127.0.0.1:5999"], "curve": curve}))
    notes = told.notes("publish")
    assert notes[0].body["curve"] == {"secret_key_file": f"{tmp_path}/key", "authorized_keys_dir": str(tmp_path)}
    close_fds(*notes)
    told.rings.close()


def test_a_source_that_cannot_be_opened_is_named_without_its_credentials(told: Told) -> None:
    error = told.setup.sources[0].refusal("no such camera")
    assert type(error) is SourceError
    assert str(error) == "source camera: rtsp://***@host/s: no such camera; mend or remove the source"


def test_what_is_verified_goes_from_capture_over_publish_to_verify(tmp_path: Path) -> None:
    told = Told(make_setup(tmp_path, monitor={"verify_every": 7}))

    def same(fd: int, wanted: int) -> bool:
        return os.fstat(fd).st_ino == os.fstat(wanted).st_ino

    (capture,) = told.notes("capture", 1)
    assert msgspec.convert(capture.body, CapturePlan).verify_every == 7
    assert len(capture.fds) == 5
    publish = told.notes("publish")
    assert [len(note.fds) for note in publish] == [5, 2, 2, 2]
    verify = told.notes("verify")
    assert [len(note.fds) for note in verify] == [2, 1, 1, 1]
    sample = told.rings.samples[1].region.fd
    assert all(same(fd, sample) for fd in (capture.fds[4], publish[2].fds[1], verify[2].fds[0]))
    plan = msgspec.convert(verify[0].body, VerifyPlan)
    assert (plan.reference, plan.sources, plan.row) == ("/state/graph.onnx", 3, told.rings.verify_row)
    assert plan.postprocess == msgspec.convert(publish[0].body, PublishPlan).postprocess
    close_fds(capture, *publish, *verify)
    told.rings.close()
