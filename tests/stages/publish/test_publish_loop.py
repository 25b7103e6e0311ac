# SPDX-License-Identifier: Apache-2.0
"""The publish loop over real rings: in order, each at most once, also when publish is killed at any moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.messages import ModelRef, Prediction
from edged.records import FrameRecord, TensorSpec
from edged.shm.board import PUBLISH_ROW, PUBLISH_STAGES, Board
from edged.shm.frame_table import AGE_P50_US, AGE_P99_US, RATE_MILLIHZ, FrameTable
from edged.shm.output_table import BatchTimes, OutputLayout, OutputTable
from edged.shm.pixels import OutputTensors
from edged.shm.wake import Wake
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor, Result
from edged.stages.publish.loop import Feed, Identity, PublishLoop, dropped

MAX_AGE_NS = 10_000_000_000
MODEL = ModelRef(id="m", engine="e", backend="onnxruntime", precision="fp32")
RAW = Postprocessor(PostprocessPlan(task="raw"))
Outputs = Mapping[str, NDArray[np.generic]]


class KilledError(Exception):
    """Stands for the end of the process at this point."""


class Bench:
    """Rings and a publish loop; results are the frame ids times ten."""

    def __init__(self, sources: int = 2, *, max_batch: int = 3, slots: int = 4) -> None:
        self.max_batch = max_batch
        # Source 0 is live, the others are lossless.
        self.tables = [FrameTable.create(40, 64, live=index == 0) for index in range(sources)]
        self.outputs = OutputTable.create(OutputLayout(slots, max_batch, (TensorSpec("y", "int64", (1,)),)))
        self.wake = Wake()
        self.board = Board.create(3)
        self.sent: list[tuple[str, Prediction, list[bytes]]] = []
        self.kill_at = ""
        self.steps_left = 0
        self.processed = 0
        self.loop = self.start()

    def start(self, postprocess: Any = None) -> PublishLoop:
        """A new publish process on the same rings."""
        feeds = [
            Feed(f"s{index}", table, MAX_AGE_NS if table.live else None) for index, table in enumerate(self.tables)
        ]
        self.loop = PublishLoop(
            self.outputs,
            feeds,
            postprocess or self.postprocess,
            self.send,
            Identity("gate", "boot", MODEL, "raw"),
            wake_infer=self.wake,
            row=self.board.row(PUBLISH_ROW),
        )
        return self.loop

    def deliver(self, frames: Sequence[tuple[int, int]], age_ns: int = 0) -> bool:
        """Play capture and infer for a batch of frames, each of a source and a number of frames lost before it."""
        free = self.outputs.free_slots()
        if not free:
            return False
        records = []
        for source, broken in frames:
            table = self.tables[source]
            for _ in range(broken):
                table.count_broken()
            slot = table.acquire()
            assert slot is not None
            record = FrameRecord(source, 0, time.monotonic_ns() - age_ns, 1_000_000_000, 64, 48, 8, 8, "")
            table.commit(slot, record, 0)
            taken = table.take(table.ready())
            records.append(table.record(source, taken[0].slot))
            table.release([taken[0].slot])
        values = OutputTensors(self.outputs).view(free[0], 0, len(records))
        values[:, 0] = [record.frame_id * 10 for record in records]
        self.outputs.describe(free[0], records)
        self.outputs.deliver(free[0], BatchTimes(records[0].captured_ns + 3_000_000, 200_000, 8_700_000))
        return True

    def postprocess(self, outputs: Outputs, place: int, frame: FrameRecord) -> Result:
        self.die("postprocess")
        self.processed += 1
        return RAW.run(outputs, place, frame)

    def send(self, topic: str, message: Prediction, blobs: Sequence[bytes]) -> None:
        self.die("before sending")
        self.sent.append((topic, message, [bytes(blob) for blob in blobs]))
        self.die("after sending")

    def die(self, moment: str) -> None:
        if moment == self.kill_at:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.kill_at = ""
                raise KilledError(moment)

    def publish_all(self) -> int:
        """Publish until nothing is left, replacing the process whenever it is killed; returns how often it was."""
        kills = 0
        while True:
            try:
                if not self.loop.publish_next():
                    return kills
            except KilledError:
                kills += 1
                self.start()

    def of(self, source: int) -> list[Prediction]:
        return [message for _, message, _ in self.sent if message.source == f"s{source}"]

    def close(self) -> None:
        del self.loop
        for table in self.tables:
            table.close()
        self.outputs.close()
        self.board.region.close()
        self.wake.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_nothing_ready_is_nothing_done(bench: Bench) -> None:
    assert not bench.loop.publish_next()
    assert not bench.wake.clear()


def test_a_message_says_where_it_comes_from_and_how_long_everything_took(bench: Bench) -> None:
    bench.deliver([(1, 2), (0, 0)], age_ns=20_000_000)
    assert bench.loop.publish_next()
    (topic, message, blobs), (other, _, _) = bench.sent
    assert (topic, other) == ("v1/predictions/s1/", "v1/predictions/s0/")
    assert (message.device, message.boot, message.source, message.model) == ("gate", "boot", "s1", MODEL)
    assert (message.seq, message.frame_id, message.batch) == (1, 2, 2)
    assert message.captured_at == 1.0
    assert 20.0 <= message.age_ms < 1000.0
    assert (message.timing_ms.wait, message.timing_ms.copy, message.timing_ms.infer) == (3.0, 0.2, 8.7)
    assert (message.frame.width, message.frame.height) == (64, 48)
    assert message.dropped.decode_error == 2
    assert abs(message.at - time.time()) < 5
    assert blobs == [(20).to_bytes(8, "little")]
    msgspec.json.decode(msgspec.json.encode(message), type=Prediction)
    # The slot is free again, infer knows, and the work is on record.
    assert bench.outputs.free_slots() == [1, 2, 3, 0]
    assert bench.wake.clear()
    row = bench.board.row(PUBLISH_ROW)
    assert row.beats == 1
    assert {name: times.runs for name, times in row.times(PUBLISH_STAGES).items()} == {
        "take": 1,
        "postprocess": 2,
        "send": 2,
    }


def test_a_late_result_is_dropped_without_work_for_live_sources_only(bench: Bench) -> None:
    bench.deliver([(0, 0), (1, 0)], age_ns=MAX_AGE_NS + 1)
    bench.deliver([(0, 0)])
    bench.publish_all()
    assert [(message.source, message.frame_id, message.seq) for _, message, _ in bench.sent] == [
        ("s1", 0, 1),
        ("s0", 1, 1),
    ]
    assert bench.processed == 2
    assert bench.tables[0].counts().stale == 1
    assert bench.of(0)[0].dropped.stale == 1
    assert bench.tables[0].counts().in_flight == 0


def test_a_result_that_became_late_in_postprocess_is_dropped_too(bench: Bench) -> None:
    def slow(outputs: Outputs, place: int, frame: FrameRecord) -> Result:
        time.sleep(0.03)
        return RAW.run(outputs, place, frame)

    loop = bench.start(slow)
    bench.deliver([(0, 0)], age_ns=MAX_AGE_NS - 20_000_000)
    assert loop.publish_next()
    assert bench.sent == []
    assert bench.tables[0].counts().stale == 1


BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=3), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(
    BATCHES,
    st.lists(
        st.tuples(st.sampled_from(["postprocess", "before sending", "after sending"]), st.integers(0, 6)), max_size=4
    ),
)
def test_a_killed_publish_sends_nothing_twice_and_counts_every_frame_once(
    batches: list[list[tuple[int, int]]], kills: list[tuple[str, int]]
) -> None:
    bench = Bench()
    unsent = 0
    left = list(kills)
    for batch in batches:
        while not bench.deliver(batch):
            bench.publish_all()
        if left:
            bench.kill_at, bench.steps_left = left.pop(0)
            moment = bench.kill_at
            if bench.publish_all() and moment == "before sending":
                unsent += 1
            bench.kill_at = ""
    bench.publish_all()
    for source, table in enumerate(bench.tables):
        messages = bench.of(source)
        ids = [message.frame_id for message in messages]
        seqs = [message.seq for message in messages]
        assert ids == sorted(set(ids))
        assert seqs == sorted(set(seqs))
        counts = table.counts()
        assert counts.in_flight == 0
        # What was counted but not sent any more is seen as a gap by everybody.
        assert counts.published - len(messages) == counts.published - len(seqs) >= 0
        assert not seqs or seqs[-1] <= counts.published
    published = sum(table.counts().published for table in bench.tables)
    assert published == sum(map(len, batches)) == len(bench.sent) + unsent
    bench.close()


def test_a_result_that_kills_publish_again_and_again_is_given_up(bench: Bench) -> None:
    bench.deliver([(1, 0), (1, 0), (1, 0)])

    def poisoned(outputs: Outputs, place: int, frame: FrameRecord) -> Result:
        if frame.frame_id == 1:
            raise KilledError("postprocess")
        return RAW.run(outputs, place, frame)

    for _ in range(2):
        with pytest.raises(KilledError):
            bench.start(poisoned).publish_next()
    assert bench.start(poisoned).publish_next()
    assert [message.frame_id for _, message, _ in bench.sent] == [0, 2]
    counts = bench.tables[1].counts()
    assert (counts.published, counts.failed, counts.in_flight) == (2, 1, 0)


def test_rates_and_ages_for_health(bench: Bench) -> None:
    words = bench.tables[1].words
    bench.loop.note_rates()
    assert (words[AGE_P50_US], words[AGE_P99_US], words[RATE_MILLIHZ]) == (-1, -1, 0)
    for age_ms in (10, 10, 10, 5000):
        bench.deliver([(1, 0)], age_ns=age_ms * 1_000_000)
        bench.publish_all()
        time.sleep(0.01)
    bench.loop.note_rates()
    assert 10_000 <= words[AGE_P50_US] < 4_000_000
    assert 5_000_000 <= words[AGE_P99_US] < 10_000_000
    # Three intervals of a little over 10 ms.
    assert 1_000 < words[RATE_MILLIHZ] <= 100_000
    assert bench.tables[0].words[RATE_MILLIHZ] == 0


def test_all_reasons_are_passed_on(bench: Bench) -> None:
    table = bench.tables[0]
    table.count_broken()
    for _ in range(3):
        slot = table.acquire()
        assert slot is not None
        table.commit(slot, FrameRecord(0, 0, 1, 2, 3, 4, 5, 6), 0)
    table.take(table.ready())
    table.reclaim_taken(set())
    losses = dropped(table.counts())
    assert (losses.decode_error, losses.overwritten, losses.failed) == (1, 2, 1)
    assert (losses.stale, losses.shutdown) == (0, 0)
