# SPDX-License-Identifier: Apache-2.0
"""The sources' link to processes, shared memory and events; the processes here are real ones that only sleep."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edged.config import SourceSettings
from edged.errors import SourceError
from edged.records import FrameRecord, TensorSpec
from edged.runtime.channel import Channel, ChannelClosedError, Note
from edged.runtime.launch import ProcessHandle
from edged.runtime.members import Member
from edged.runtime.rings import Rings
from edged.runtime.setup import SourceSetup
from edged.runtime.sources import Sources, deadlines
from edged.shm.output_table import OutputLayout
from edged.stages.capture.progress import Progress
from edged.stages.capture.uri import parse

CAMERA = "rtsp://u:S3cr@127.0.0.1:9/stream"


def setup(name: str, uri: str = CAMERA, **settings: Any) -> SourceSetup:
    made = SourceSettings.model_validate({"name": name, "uri": uri, **settings})
    parsed = parse(uri)
    return SourceSetup(made, parsed, parsed.live_by_default if made.mode is None else made.mode == "live", None)


class Sleeper(ProcessHandle):
    """A process that does nothing."""

    def __init__(self) -> None:
        super().__init__(subprocess.Popen(["sleep", "60"]))


class House:
    """Sources with rings, and a capture process for each, whose row and channel the test writes."""

    def __init__(self, *setups: SourceSetup) -> None:
        self.events: list[tuple[str, str, str, str]] = []
        self._seen = 0
        self.sources = Sources(setups, self._announce)
        layout = OutputLayout(4, 2, (TensorSpec("y", "float32", (3,)),))
        self.rings = Rings([each.live for each in setups], slots=2, frame_bytes=192, outputs=layout)
        self.sources.use(self.rings)
        self.ends: list[Channel] = []
        self._channels: list[Channel] = []
        for member in self.sources.members:
            self.start(member)

    def _announce(
        self, kind: str, source: str, severity: str, text: str, data: dict[str, int | float | str | bool] | None = None
    ) -> None:
        self.events.append((kind, source, severity, text))

    def start(self, member: Member) -> None:
        mine, theirs = Channel.pair()
        member.running = (Sleeper(), mine)
        self.ends.append(Channel(theirs))
        self._channels.append(mine)
        self.sources.launched(member)
        self.sources.begun(member)

    def row(self, index: int = 0) -> Progress:
        return Progress(self.rings.board.row(self.rings.capture_row(index)))

    def say(self, kind: str, body: Any = None, index: int = 0) -> None:
        self.sources.hear(self.sources.members[index], Note(kind, body, []))

    def look_until(self, kind: str, timeout_s: float = 5.0) -> None:
        end = time.monotonic() + timeout_s
        while kind not in [event[0] for event in self.events[self._seen :]]:
            assert time.monotonic() < end, self.events
            due = self.sources.due(time.monotonic())
            assert due is not None
            time.sleep(max(0.0, due - time.monotonic()))
            self.sources.look()
        self._seen = next(
            place + 1 for place, event in enumerate(self.events) if place >= self._seen and event[0] == kind
        )

    def close(self) -> None:
        for member in self.sources.members:
            if member.running is not None:
                member.running[0].kill()
                member.running[0].wait(5)
        for channel in (*self.ends, *self._channels):
            channel.close()
        self.rings.close()


@pytest.fixture
def houses() -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for house in made:
        house.close()


def failure(reason: str, *, permanent: bool = False) -> dict[str, object]:
    return {"reason": reason, "permanent": permanent, "refused": False}


def test_a_source_is_live_once_a_frame_came(houses: list[House]) -> None:
    house = House(setup("north"), setup("south"))
    houses.append(house)
    house.say("opened", {"decode": "software", "notes": ["only 640×480 instead of 1280×720"]})
    house.say("opened", {"decode": "software", "notes": ["only 640×480 instead of 1280×720"]})
    assert [event[0] for event in house.events] == ["source-note"]
    house.row().expect()
    house.row().arrived()
    house.look_until("source-live")
    assert house.events[1:] == [("source-live", "north", "info", "source north is live")]
    assert [(each.state, each.decode) for each in house.sources.statuses] == [("live", "software"), ("opening", "")]
    assert house.sources.members[0].ready


def test_another_picture_size_is_said(houses: list[House]) -> None:
    house = House(setup("north"))
    houses.append(house)
    house.say("resized", {"before": (720, 1280), "now": (1080, 1920)})
    text = "source north: its pictures are 1920 × 1080 pixels now; they were 1280 × 720"
    assert house.events == [("source-note", "north", "warning", text)]


def test_what_was_lost_is_said_and_counted_at_the_end(houses: list[House]) -> None:
    house = House(setup("album", "dir:///photos"))
    houses.append(house)
    house.row().expect()
    house.row().arrived()
    text = "i_text.jpg could not be decoded: is not an image"
    house.say("remark", {"text": text, "first": "i_text.jpg"})
    house.say("remark", {"text": "and 2 more images could not be decoded", "first": "i_text.jpg"})
    assert house.events[-2:] == [
        ("source-note", "album", "warning", f"source album: {text}"),
        ("source-note", "album", "warning", "source album: and 2 more images could not be decoded"),
    ]
    frames = house.rings.frames[0]
    for _ in range(3):
        frames.count_broken()
    slot = frames.acquire()
    assert slot is not None
    frames.commit(slot, FrameRecord(0, 0, 1, 2, 64, 48, 8, 8), 3)
    house.say("ended")
    # It has ended, but of one frame nobody knows yet what becomes of it.
    assert house.sources.statuses[0].state == "ended"
    assert "source-ended" not in [event[0] for event in house.events]
    frames.take(frames.ready())
    frames.settle(0, published=True)
    house.look_until("source-ended")
    ended = "source album has ended: 1 frame published, 3 could not be decoded (first: i_text.jpg)"
    assert house.events[-1] == ("source-ended", "album", "info", ended)
    assert house.sources.conclusion == "all sources have ended: 1 frame published, 3 could not be decoded"
    assert house.sources.due(time.monotonic()) is None


def test_its_end_is_said_at_the_latest_when_the_daemon_ends(houses: list[House]) -> None:
    house = House(setup("album", "dir:///photos"))
    houses.append(house)
    slot = house.rings.frames[0].acquire()
    assert slot is not None
    house.rings.frames[0].commit(slot, FrameRecord(0, 0, 1, 2, 64, 48, 8, 8), 3)
    house.say("ended")
    house.sources.look()
    assert house.events == []
    house.sources.part(now_or_never=True)
    house.sources.part(now_or_never=True)
    assert [event[3] for event in house.events] == ["source album has ended: 0 frames published, 1 still on the way"]


def test_one_that_hangs_is_killed_and_its_successor_due_at_once(houses: list[House]) -> None:
    house = House(setup("north", stall_s=0.1))
    houses.append(house)
    member, row = house.sources.members[0], house.row()
    row.expect()
    for _ in range(4):
        row.arrived()
    house.look_until("source-live")
    house.look_until("source-stalled")
    assert member.running is not None
    handle = member.running[0]
    begin = time.monotonic()
    while handle.wait(0.0) is None:
        assert time.monotonic() < begin + 10
        house.sources.look()
    assert handle.wait(0.0) == -9
    member.running = None
    house.sources.died(member, "was killed by signal 9")
    assert house.events[-1][3] == "source north is down and will be tried again: no frame for 0.1 s"
    assert member.start_at is not None
    assert member.start_at <= time.monotonic()
    # What the dead one left in its row tells nothing of the next one.
    house.start(member)
    house.sources.look()
    assert house.sources.statuses[0].state == "backoff"
    row.expect()
    row.arrived()
    house.look_until("source-live")


def test_a_failure_is_said_once_and_the_same_process_tries_again(houses: list[House]) -> None:
    house = House(setup("north"))
    houses.append(house)
    for _ in range(3):
        house.say("failed", failure("connection refused"))
        end = time.monotonic() + 10
        note = None
        while note is None:
            assert time.monotonic() < end
            house.sources.look()
            note = house.ends[0].receive(0.02)
        assert (note.kind, note.body) == ("open", None)
    assert [event[0] for event in house.events] == ["source-backoff"]
    house.say("failed", failure("no route to host"))
    assert [event[3].rpartition(": ")[2] for event in house.events] == ["connection refused", "no route to host"]
    assert house.sources.members[0].restarts == 0


def test_the_end_is_the_end(houses: list[House]) -> None:
    house = House(setup("film", "synthetic://shapes?frames=3", mode="lossless"))
    houses.append(house)
    house.row().expect()
    house.row().arrived()
    house.say("ended")
    assert [event[0] for event in house.events] == ["source-live", "source-ended"]
    assert house.sources.all_over
    assert house.sources.due(time.monotonic()) is None
    house.sources.died(house.sources.members[0], "ended with status 0")
    assert house.sources.members[0].start_at is None
    house.sources.check()


def test_a_mistake_ends_the_daemon_when_nothing_else_is_left(houses: list[House]) -> None:
    house = House(setup("film", "file:///nowhere.mp4"), setup("photos", "dir:///nowhere"))
    houses.append(house)
    house.say("failed", failure("is not a video that FFmpeg can read", permanent=True))
    house.sources.check()  # there is another one
    frames = house.rings.frames[1]
    slot = frames.acquire()
    assert slot is not None
    frames.commit(slot, FrameRecord(0, 0, 1, 2, 64, 48, 8, 8), 3)
    house.sources.refuse(1, SourceError("holds no image", where="source photos"))
    house.sources.check()  # a frame is on its way
    assert not house.sources.settled
    frames.take(frames.ready())
    frames.settle(0, published=True)
    with pytest.raises(SourceError, match="not a video"):
        house.sources.check()
    assert [event[:3] for event in house.events] == [
        ("source-failed", "film", "error"),
        ("source-failed", "photos", "error"),
    ]


def test_sources_come_go_and_change(houses: list[House]) -> None:
    house = House(setup("a"), setup("b"), setup("c"))
    houses.append(house)
    sources = house.sources
    gone = [sources.members[0], sources.members[2]]
    sources.remove(0)
    assert (sources.names, [member.source for member in sources.members]) == (["b", "c"], [0, 1])
    new = sources.renew(1, setup("d"))
    assert (sources.names, sources.members[1] is new, new.source) == (["b", "d"], True, 1)
    assert [status.state for status in sources.statuses] == ["opening", "opening"]
    for member in gone:
        assert member.running is not None
        member.running[0].kill()
        member.running[0].wait(5)


def test_how_long_is_too_long() -> None:
    live, slow = deadlines(setup("a")), deadlines(setup("a", stall_s=60))
    film = deadlines(setup("a", "file:///a.mp4"))
    assert (live.stall, live.first, slow.stall, slow.first) == (1.5, 10.0, 60.0, 120.0)
    assert (film.stall, film.retry) == (10.0, 30.0)
    # A reader that gives up in the ordinary way is not overtaken by a kill.
    assert live.open > 5.0


def test_a_channel_that_is_closed_is_no_order(houses: list[House]) -> None:
    house = House(setup("north"))
    houses.append(house)
    house.ends[0].close()
    house.say("failed", failure("gone"))
    time.sleep(0.01)
    house.sources.look()
    member = house.sources.members[0]
    assert member.running is not None
    with pytest.raises(ChannelClosedError):
        member.running[1].receive(1.0)
    house.sources.died(member, "was killed by signal 9")
    assert member.start_at is not None
