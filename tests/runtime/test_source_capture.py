# SPDX-License-Identifier: Apache-2.0
"""The capture process from its orders to its ring: opened again in place, resumed exactly, and past what kills it."""

from __future__ import annotations

import shutil
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
    said = [note.body for note in process.until_gone()]
    assert [number for number, _, _ in process.levels()] == [1, 2, 3, 4, 5]
    counts = process.frames.counts()
    assert (counts.captured, counts.decode_error) == (6, 1)
    assert {"text": "0.png could not be decoded: it killed 3 processes in a row", "first": "0.png"} in said


@pytest.mark.parametrize("live", [True, False])
def test_a_folder_in_a_loop_that_goes_away_is_waited_for(processes: list[Process], photos: Path, live: bool) -> None:
    folder = photos / "drive"
    folder.mkdir()
    (photos / "0.png").rename(folder / "0.png")
    process = Process(f"dir://{folder}", live=live, room=3)
    processes.append(process)
    process.start(repeat=True)
    assert [process.hear().kind for _ in range(2)] == ["hello", "opened"]
    folder.rename(photos / "away")
    process.levels()
    process.rings.spaces[0].set()
    for _ in range(2):
        note = process.hear()
        assert (note.kind, note.body["permanent"], note.body["reason"]) == ("failed", False, "the folder is gone")
        process.say("open")
    assert process.hear().kind == "failed"
    (photos / "away").rename(folder)
    process.say("open")
    assert process.hear().kind == "opened"
    process.stop()


def test_a_folder_that_goes_away_fails_a_run_that_has_an_end(processes: list[Process], photos: Path) -> None:
    process = Process(f"dir://{photos}", live=False, room=3)
    processes.append(process)
    process.start()
    end = time.monotonic() + 10
    while process.row().standing().phase is not Phase.WAITING:
        assert time.monotonic() < end
        time.sleep(0.01)
    shutil.rmtree(photos)
    process.levels()
    process.rings.spaces[0].set()
    note = process.until_gone()[-1]
    assert (note.kind, note.body["permanent"], note.body["reason"]) == ("failed", True, "the folder is gone")


def test_images_that_are_lost_are_named(processes: list[Process], photos: Path) -> None:
    for number in range(8):
        (photos / f"x{number}.png").write_bytes(b"no image" if number else b"")
    process = Process(f"dir://{photos}", live=False)
    processes.append(process)
    process.start()
    said = process.until_gone()
    assert [note.kind for note in said] == ["hello", "opened", *["remark"] * 6, "ended"]
    texts = ["x0.png could not be decoded: is empty (0 bytes)"]
    texts += [f"x{number}.png could not be decoded: is not an image, or damaged" for number in range(1, 5)]
    assert [note.body for note in said[2:-1]] == [
        {"text": text, "first": "x0.png"} for text in [*texts, "and 3 more images could not be decoded"]
    ]
    counts = process.frames.counts()
    assert (counts.captured, counts.decode_error) == (14, 8)


def test_a_film_that_was_cut_off_says_so(processes: list[Process], tmp_path: Path) -> None:
    whole = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(whole), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    data = whole.read_bytes()
    begin = data.index(b"movi")
    (tmp_path / "cut.avi").write_bytes(data[: begin + (len(data) - begin) // 2])
    process = Process(f"file://{tmp_path}/cut.avi", live=False)
    processes.append(process)
    process.start()
    said = process.until_gone()
    taken = process.frames.counts().captured
    assert [note.kind for note in said] == ["hello", "opened", "remark", "remark", "ended"]
    assert said[2].body["first"] == f"frame {taken - 1}"
    assert said[2].body["text"].startswith(f"frame {taken - 1} could not be decoded: FFmpeg says: ")
    assert said[3].body["text"].startswith(f"its header promises 0.8 s and {(taken - 2) / 25:.1f} s came")


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
