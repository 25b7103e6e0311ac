# SPDX-License-Identifier: Apache-2.0
"""The capture process from its orders to its ring: opened again in place, resumed exactly, and past what kills it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edged.records import TensorSpec
from edged.runtime import child
from edged.runtime.channel import Channel, ChannelClosedError, Note
from edged.runtime.rings import Rings
from edged.shm.output_table import OutputLayout
from edged.shm.pixels import FramePixels
from edged.stages.capture.progress import Phase, Progress

SIDE = 16
FIT = {"size": [SIDE, SIDE], "resize": "stretch"}


class Process:
    """A capture process as a thread, with this side of its channel and its ring."""

    def __init__(self, uri: str, *, live: bool, room: int = 30) -> None:
        self.uri, self.live = uri, live
        layout = OutputLayout(4, room // 3, (TensorSpec("y", "float32", (3,)),))
        self.rings = Rings([live], slots=2, frame_bytes=SIDE * SIDE * 3, outputs=layout)
        self.frames = self.rings.frames[0]
        self._thread: threading.Thread | None = None
        self._channel: Channel | None = None

    def start(self, **plan: Any) -> None:
        """As the supervisor does, also after a death."""
        mine, theirs = Channel.pair()
        captured = self.frames.counts().captured
        body = {
            "uri": self.uri,
            "fps": None,
            "repeat": False,
            "decode": "auto",
            "fit": FIT,
            "skip": 0 if self.live else captured,
            "row": self.rings.capture_row(0),
            **plan,
        }
        fds = (self.frames.region.fd, self.rings.wake_infer.fd, self.rings.spaces[0].fd, self.rings.board.region.fd)
        mine.send("configure", body, fds)
        self._channel = mine
        self._thread = threading.Thread(target=child.serve, args=("capture", "source", theirs))
        self._thread.start()

    def hear(self, timeout_s: float = 10.0) -> Note:
        assert self._channel is not None
        note = self._channel.receive(timeout_s)
        assert note is not None
        return note

    def say(self, kind: str) -> None:
        assert self._channel is not None
        assert self._channel.send(kind)

    def until_gone(self) -> list[Note]:
        """What it says until it ends."""
        said = []
        try:
            while True:
                said.append(self.hear())
        except ChannelClosedError:
            self.stop()
        return said

    def stop(self) -> None:
        if self._thread is not None and self._channel is not None:
            self._channel.send("stop")
            self.rings.wake_all()
            self._thread.join(10)
            assert not self._thread.is_alive()
            self._channel.close()
            self._thread = None

    def row(self) -> Progress:
        return Progress(self.rings.board.row(self.rings.capture_row(0)))

    def levels(self) -> list[tuple[int, str, int]]:
        """Id, file and brightness of the frames that wait; taken out."""
        pixels, found = FramePixels(self.frames), []
        for frame in self.frames.take(self.frames.ready()):
            image = pixels.frame(frame.slot, frame.input_height, frame.input_width)
            found.append((frame.frame_id, self.frames.record(0, frame.slot).file, int(image.mean())))
            self.frames.release([frame.slot])
        return found


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        process.stop()
        process.rings.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((SIDE, SIDE, 3), 10 * number, np.uint8))
    return tmp_path


def die_while_reading(process: Process, position: int, times: int) -> None:
    """Leave in the row what processes leave that were killed while they read a frame."""
    for _ in range(times):
        process.row().attempt(position)
        process.row().clear(excuse=False)


def test_a_source_that_cannot_be_opened_is_tried_again_by_the_same_process(processes: list[Process]) -> None:
    process = Process("v4l2:///dev/video77", live=True)
    processes.append(process)
    process.start()
    assert process.hear().kind == "hello"
    for _ in range(3):
        note = process.hear()
        assert (note.kind, note.body["permanent"]) == ("failed", False)
        assert "no /dev/video77" in note.body["reason"]
        assert process.row().standing().phase is Phase.IDLE
        process.say("open")
    process.hear()
    process.stop()


def test_a_lossless_source_goes_on_where_it_was(processes: list[Process], photos: Path) -> None:
    process = Process(f"dir://{photos}", live=False, room=3)
    processes.append(process)
    process.start()
    end = time.monotonic() + 10
    while process.row().standing().phase is not Phase.WAITING:
        assert time.monotonic() < end
        time.sleep(0.01)
    first = process.levels()
    process.stop()
    process.frames.reclaim_written()
    rest: list[tuple[int, str, int]] = []
    process.start()
    while len(first) + len(rest) < 6:
        assert time.monotonic() < end
        rest += process.levels()
        process.rings.spaces[0].set()
        time.sleep(0.01)
    assert [note.kind for note in process.until_gone()] == ["hello", "opened", "ended"]
    assert first + rest == [(number, f"{number}.png", 10 * number) for number in range(6)]


def test_an_image_that_kills_three_processes_is_passed_over_and_counted(processes: list[Process], photos: Path) -> None:
    process = Process(f"dir://{photos}", live=False)
    processes.append(process)
    die_while_reading(process, 0, 3)
    process.start()
    process.until_gone()
    assert [number for number, _, _ in process.levels()] == [1, 2, 3, 4, 5]
    counts = process.frames.counts()
    assert (counts.captured, counts.decode_error) == (6, 1)


def test_two_deaths_over_a_frame_are_not_enough(processes: list[Process], photos: Path) -> None:
    process = Process(f"dir://{photos}", live=False)
    processes.append(process)
    die_while_reading(process, 0, 2)
    process.start()
    process.until_gone()
    assert len(process.levels()) == 6


def test_a_stream_that_kills_three_processes_at_a_frame_has_failed(processes: list[Process]) -> None:
    process = Process("synthetic://shapes?frames=3&size=32x32", live=False)
    processes.append(process)
    die_while_reading(process, 0, 3)
    process.start()
    note = process.until_gone()[-1]
    assert note.kind == "failed"
    assert note.body["permanent"]
    assert note.body["reason"].startswith("reading frame 0 killed 3 processes in a row")
    # Played live it begins anew each time, so that no frame of it is the one that kills.
    live = Process("synthetic://shapes?frames=3&size=32x32", live=True)
    processes.append(live)
    die_while_reading(live, 0, 3)
    live.start()
    assert live.until_gone()[-1].kind == "ended"


def test_the_size_of_a_stream_may_change_while_it_runs(processes: list[Process], tmp_path: Path) -> None:
    """Motion JPEG, one picture after the other in a file, each of another size; said once a minute at the most."""
    sizes = [(64, 48), (64, 48), (32, 96), (128, 16), (64, 48)]
    film = tmp_path / "film.mjpeg"
    with film.open("wb") as file:
        for number, (width, height) in enumerate(sizes):
            file.write(cv2.imencode(".jpg", np.full((height, width, 3), 40 * number, np.uint8))[1].tobytes())
    process = Process(f"file://{film}", live=False)
    processes.append(process)
    process.start()
    notes = process.until_gone()
    assert [(note.kind, note.body) for note in notes[2:]] == [
        ("resized", {"before": [48, 64], "now": [96, 32]}),
        ("ended", None),
    ]
    pixels = FramePixels(process.frames)
    taken = process.frames.take(process.frames.ready())
    records = [process.frames.record(0, frame.slot) for frame in taken]
    levels = [int(pixels.frame(frame.slot, SIDE, SIDE).mean()) for frame in taken]
    assert len(records) == len(sizes)
    assert [(record.width, record.height) for record in records] == sizes
    assert levels == pytest.approx([0, 40, 80, 120, 160], abs=2)
