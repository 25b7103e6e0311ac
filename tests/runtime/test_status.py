# SPDX-License-Identifier: Apache-2.0
"""Health and statistics from real rings."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from edged.messages import EngineHealth, Health, Percentiles, SourceState, Stats
from edged.records import FrameRecord, TensorSpec
from edged.runtime import status
from edged.runtime.channel import Channel
from edged.runtime.launch import ThreadLauncher
from edged.runtime.members import Member, SourceStatus
from edged.runtime.rings import Rings
from edged.shm.board import FIRST_CAPTURE_ROW, INFER_ROW
from edged.shm.frame_table import AGE_P50_US, AGE_P99_US, RATE_MILLIHZ
from edged.shm.output_table import OutputLayout

FRAME = FrameRecord(0, 0, 1, 2, 64, 48, 8, 8)
ENGINE = EngineHealth(id="m", engine="e", backend="onnxruntime", precision="fp32", io="in-place")
ENVELOPE = {"device": "d", "boot": "b", "seq": 1, "at": 0.0}


@pytest.fixture
def rings() -> Iterator[Rings]:
    layout = OutputLayout(4, 2, (TensorSpec("y", "float32", (3,)),))
    made = Rings([True, False], slots=2, frame_bytes=192, outputs=layout)
    yield made
    made.close()


@pytest.fixture
def members() -> Iterator[list[Member]]:
    """Publish and infer, which are ready, and two captures."""
    made = [
        Member("publish", "socket", ready=True),
        Member("infer", "model", ready=True),
        Member("capture", "north", 0),
        Member("capture", "south", 1, restarts=3),
    ]
    channels: list[Channel] = []
    for member in made[:2]:
        member.running = ThreadLauncher(lambda role, name, sock: sock.close()).start(member.role, member.name)
        channels.append(member.running[1])
    yield made
    for channel in channels:
        channel.close()


def statuses(north: SourceState = "live", south: SourceState = "live", reason: str = "") -> list[SourceStatus]:
    return [SourceStatus(north, reason), SourceStatus(south)]


def capture(rings: Rings, source: int, count: int) -> None:
    for _ in range(count):
        slot = rings.frames[source].acquire()
        assert slot is not None
        rings.frames[source].commit(slot, FRAME, 0)


def test_rings_are_as_large_as_the_pipeline_needs(rings: Rings) -> None:
    live, lossless = rings.frames
    assert (live.layout.slots, live.live) == (4, True)  # K in flight, one that waits, one being written
    assert (lossless.layout.slots, lossless.live) == (6, False)  # K batches in flight and one being filled
    assert live.layout.slot_bytes == 192
    rings.wake_all()
    assert all(wake.clear() for wake in (rings.wake_infer, rings.wake_publish, *rings.spaces))


def test_source_health_adds_up(rings: Rings) -> None:
    table = rings.frames[0]
    capture(rings, 0, 3)
    table.count_broken()
    taken = table.take(table.ready())
    table.release([taken[0].slot])
    table.settle(taken[0].frame_id, published=True)
    capture(rings, 0, 1)
    table.words[AGE_P50_US], table.words[AGE_P99_US], table.words[RATE_MILLIHZ] = 21_400, 30_000, 29_970
    health = status.source_health(table, SourceStatus("live", decode="software"))
    assert (health.captured, health.published, health.in_flight) == (5, 1, 1)
    assert (health.dropped.overwritten, health.dropped.decode_error) == (2, 1)
    assert health.rate_hz == 29.97
    assert health.age_ms == Percentiles(p50=21.4, p99=30.0)
    assert health.decode == "software"


def test_a_source_that_is_over_has_no_rate_and_one_that_never_published_no_age(rings: Rings) -> None:
    table = rings.frames[0]
    table.words[RATE_MILLIHZ] = 30_000
    assert status.source_health(table, SourceStatus("ended")).rate_hz == 0.0
    assert status.source_health(table, SourceStatus("opening")).age_ms is None
    table.words[AGE_P50_US] = -1
    assert status.source_health(table, SourceStatus("live")).age_ms is None


@pytest.mark.parametrize("state", ["failed", "backoff", "stalled"])
def test_a_source_in_trouble_degrades_the_daemon(rings: Rings, members: list[Member], state: SourceState) -> None:
    names = ["north", "south"]
    body = status.health("ready", names, statuses(state, reason="no camera"), members, rings, ENGINE)
    assert (body.state, body.reasons) == ("degraded", [f"source north {state}: no camera"])
    assert list(body.sources) == names
    # The daemon's own state goes before: what is starting or stopping is not degraded.
    assert status.health("stopping", names, statuses(state), members, rings, ENGINE).state == "stopping"


def test_sources_that_ended_leave_the_daemon_ready(rings: Rings, members: list[Member]) -> None:
    body = status.health("ready", ["north", "south"], statuses("ended"), members, rings, ENGINE)
    assert (body.state, body.reasons) == ("ready", [])
    message = msgspec.convert({**ENVELOPE, **msgspec.to_builtins(body)}, Health)
    assert message.engine == ENGINE


def test_a_missing_process_degrades_the_daemon(rings: Rings, members: list[Member]) -> None:
    members[1].ready = False
    body = status.health("ready", ["north", "south"], statuses(), members, rings, ENGINE)
    assert (body.state, body.reasons) == ("degraded", ["infer is being replaced"])
    assert status.health("starting", ["north", "south"], statuses(), members, rings, None).state == "starting"


def test_stage_times_come_from_each_process_row(rings: Rings, members: list[Member]) -> None:
    rings.board.row(INFER_ROW).add(2, 2_000_000_000, 1_500_000_000)
    rings.board.row(FIRST_CAPTURE_ROW + 1).add(0, 10**9, 10**8)
    body = status.stats(0.0, members, rings)
    assert set(body.processes) == {"supervisor", "publish", "infer", "capture:north", "capture:south"}
    infer = body.processes["infer"].stages
    assert list(infer) == ["collate", "submit", "infer", "deliver"]
    assert (infer["infer"].count, infer["infer"].wall_s, infer["infer"].cpu_s) == (1, 2.0, 1.5)
    south = body.processes["capture:south"]
    assert (south.restarts, south.cpu_s, south.stages["decode"].wall_s) == (3, 0.0, 1.0)
    assert body.processes["supervisor"].cpu_s > 0
    assert body.uptime_s > 0
    msgspec.convert({**ENVELOPE, **msgspec.to_builtins(body)}, Stats)


def test_cpu_time_of_a_process() -> None:
    before = status.cpu_seconds(os.getpid())
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert 0.05 <= status.cpu_seconds(os.getpid()) - before < 5
    gone = subprocess.Popen(["true"])
    gone.wait(10)
    assert status.cpu_seconds(gone.pid) == 0.0
