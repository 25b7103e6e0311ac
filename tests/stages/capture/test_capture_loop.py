# SPDX-License-Identifier: Apache-2.0
"""The capture loop over real rings: what is taken, counted, overwritten, waited for, and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import Ready
from edged.shm.board import CAPTURE_STAGES, Board
from edged.shm.frame_table import FrameTable
from edged.shm.pixels import FramePixels
from edged.shm.wake import Wake
from edged.stages.capture.fit import FitPlan, Fitter, SizeRange
from edged.stages.capture.loop import CaptureLoop
from edged.stages.capture.pacing import Pacer, RateCap
from edged.stages.capture.progress import Progress
from edged.stages.capture.readers.base import DecodeError, Picture, Reader, ReadFailedError, arrival
from edged.stages.capture.readers.folder import FolderReader
from edged.stages.capture.readers.synthetic import ShapesReader
from edged.stages.capture.synthetic_options import SyntheticOptions

SIDE = 32


class Script:
    """A source that does what it is told, one entry a read: a grey level, a broken frame, a failure, or the end."""

    decode = "software"
    fps = None

    def __init__(self, *entries: int | Exception | None, rewinds: int = 0) -> None:
        self._entries = entries
        self._at = 0
        self.rewinds = rewinds

    def read(self) -> Picture | None:
        entry = self._entries[self._at] if self._at < len(self._entries) else None
        self._at += 1
        if isinstance(entry, Exception):
            raise entry
        if entry is None:
            return None
        return Picture(np.full((SIDE, SIDE, 3), entry, np.uint8), *arrival())

    def rewind(self) -> None:
        if not self.rewinds:
            raise ReadFailedError("the script is over")
        self.rewinds -= 1
        self._at = 0

    def close(self) -> None: ...


class Bench:
    """A ring, and a loop that fills it; by default whatever arrives is taken at once, as infer would."""

    def __init__(self, *, live: bool, slots: int = 4, size: tuple[int, int] | SizeRange = (SIDE, SIDE)) -> None:
        largest = size if isinstance(size, tuple) else size.max
        self.table = FrameTable.create(slots, largest[0] * largest[1] * 3, live=live)
        self.pixels = FramePixels(self.table)
        self.wake, self.space = Wake(), Wake()
        self.board = Board.create(3)
        self.fitter = Fitter(FitPlan(size=size))
        self.taken: list[tuple[Ready, str, int]] = []
        self.stop = threading.Event()

    def loop(self, reader: Reader, **options: object) -> CaptureLoop:
        arguments: dict[str, object] = {"pacer": None, "cap": None, "repeat": False, "pause": self.pause, **options}
        return CaptureLoop(
            reader,
            self.fitter,
            self.table,
            self.pixels,
            wake_infer=self.wake,
            space=self.space,
            row=self.board.row(2),
            **arguments,  # type: ignore[arg-type]
        )

    def pause(self, seconds: float) -> bool:
        """Take what waits, then wait as a child waits for its control channel."""
        self.take()
        return self.stop.wait(seconds)

    def keep(self, seconds: float) -> bool:
        """The same without taking anything."""
        return self.stop.wait(seconds)

    def take(self) -> None:
        for frame in self.table.take(self.table.ready()):
            value = int(self.pixels.frame(frame.slot, frame.input_height, frame.input_width)[0, 0, 0])
            self.taken.append((frame, self.table.record(0, frame.slot).file, value))
            self.table.release([frame.slot])
            self.space.set()

    @property
    def ids(self) -> list[int]:
        return [frame.frame_id for frame, _, _ in self.taken]

    @property
    def values(self) -> list[int]:
        return [value for _, _, value in self.taken]

    def close(self) -> None:
        del self.pixels
        self.table.close()
        self.board.region.close()
        self.wake.close()
        self.space.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


ENTRIES = st.lists(st.one_of(st.integers(0, 255), st.just("broken")), max_size=30)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.booleans())
def test_every_frame_is_counted_and_broken_ones_are_no_end(entries: Sequence[int | str], live: bool) -> None:
    bench = Bench(live=live)
    script = [DecodeError("torn") if isinstance(entry, str) else entry for entry in entries]
    assert bench.loop(Script(*script)).run()
    bench.take()
    whole = [index for index, entry in enumerate(entries) if entry != "broken"]
    counts = bench.table.counts()
    assert (counts.captured, counts.decode_error) == (len(entries), len(entries) - len(whole))
    # Broken frames have an id too.
    assert bench.ids == whole
    assert bench.values == [entries[index] for index in whole]
    assert counts.overwritten == 0
    assert bench.wake.clear() == bool(whole)
    assert bench.board.row(2).beats <= len(whole)
    assert live or bench.board.row(2).beats == len(whole)
    times = bench.board.row(2).times(CAPTURE_STAGES)
    assert times["fit"].runs == times["hand-over"].runs == len(whole)
    assert times["decode"].runs == len(entries) + 1
    bench.close()


def test_live_never_waits_and_keeps_the_newest(bench: Callable[..., Bench]) -> None:
    ring = bench(live=True)
    assert ring.loop(Script(*range(20)), pause=ring.keep).run()
    ring.take()
    assert (ring.ids, ring.values) == ([19], [19])
    assert ring.table.counts().overwritten == 19


def test_lossless_waits_for_space_and_goes_on_as_soon_as_there_is_some(bench: Callable[..., Bench]) -> None:
    ring = bench(live=False, slots=3)
    loop = ring.loop(Script(*range(30)), pause=ring.keep)
    thread = threading.Thread(target=loop.run)
    thread.start()
    start = time.monotonic()
    while len(ring.ids) < 30:
        assert ring.wake.wait(5.0)
        ring.take()
    thread.join(5)
    # 30 frames through 3 slots: a single time-out of the wait for space would show.
    assert time.monotonic() - start < 0.5
    assert ring.ids == list(range(30))


def test_waiting_for_space_ends_with_a_stop(bench: Callable[..., Bench]) -> None:
    ring = bench(live=False, slots=2)

    def stop() -> None:
        ring.stop.set()
        ring.space.set()  # as the supervisor does

    timer = threading.Timer(0.05, stop)
    timer.start()
    start = time.monotonic()
    assert not ring.loop(Script(*range(9)), pause=ring.keep).run()
    assert time.monotonic() - start < 0.4
    # The frame that found no place was never counted, so it is not lost either.
    assert ring.table.counts().captured == 2
    timer.join()


def test_a_stop_before_the_first_frame(bench: Callable[..., Bench]) -> None:
    ring = bench(live=True)
    ring.stop.set()
    assert not ring.loop(Script(1, 2)).run()
    assert ring.table.counts().captured == 0


def test_a_failure_comes_out_with_everything_before_it_handed_over(bench: Callable[..., Bench]) -> None:
    ring = bench(live=False)
    with pytest.raises(ReadFailedError, match="unplugged"):
        ring.loop(Script(1, 2, ReadFailedError("unplugged"))).run()
    ring.take()
    assert ring.values == [1, 2]


def test_an_error_that_nobody_foresaw_counts_as_a_death_over_that_frame(bench: Callable[..., Bench]) -> None:
    it = bench(live=False)
    with pytest.raises(ValueError, match="no such stride"):
        it.loop(Script(1, DecodeError("no"), 2, ValueError("no such stride"))).run()
    progress = Progress(it.board.row(2))
    assert [progress.deaths(position) for position in range(5)] == [0, 0, 0, 1, 0]
    with pytest.raises(ReadFailedError):
        it.loop(Script(ReadFailedError("unplugged"))).run()
    assert progress.deaths(3) == 0


def test_repeating_counts_on_until_the_source_is_empty(bench: Callable[..., Bench]) -> None:
    ring = bench(live=False)
    reader = Script(7, 8, DecodeError("torn"), rewinds=2)
    with pytest.raises(ReadFailedError, match="over"):
        ring.loop(reader, repeat=True).run()
    ring.take()
    assert ring.values == [7, 8] * 3
    assert ring.ids == [0, 1, 3, 4, 6, 7]


def test_repeating_a_source_without_a_picture_ends_instead_of_spinning(bench: Callable[..., Bench]) -> None:
    assert bench(live=False).loop(Script(DecodeError("torn"), rewinds=10**6), repeat=True).run()


def test_a_live_cap_skips_frames_before_they_are_counted(bench: Callable[..., Bench]) -> None:
    ring = bench(live=True)
    # All at once: the cap lets the first pass, and little more.
    assert ring.loop(Script(*range(200)), cap=RateCap(10.0)).run()
    ring.take()
    counts = ring.table.counts()
    assert 1 <= counts.captured <= 4
    assert ring.ids == list(range(counts.captured))
    assert ring.values[0] == 0


def test_a_lossless_cap_slows_down_and_loses_nothing(bench: Callable[..., Bench]) -> None:
    ring = bench(live=False)
    start = time.monotonic()
    assert ring.loop(Script(*range(8)), cap=RateCap(50.0)).run()
    assert time.monotonic() - start >= 0.1
    ring.take()
    assert ring.values == list(range(8))


def test_a_pacer_sets_the_pace_and_its_wait_ends_with_a_stop(bench: Callable[..., Bench]) -> None:
    ring = bench(live=True)
    reader = ShapesReader(SyntheticOptions(fps=100.0, width=SIDE, height=SIDE, frames=11))
    start = time.monotonic()
    assert ring.loop(reader, pacer=Pacer(100.0)).run()
    assert 0.09 <= time.monotonic() - start < 2.0
    slow = bench(live=True)
    timer = threading.Timer(0.05, slow.stop.set)
    timer.start()
    start = time.monotonic()
    assert not slow.loop(Script(*range(9)), pacer=Pacer(0.1)).run()
    assert time.monotonic() - start < 2.0
    assert slow.table.counts().captured == 1
    timer.join()


def test_images_arrive_with_their_names_and_sizes(bench: Callable[..., Bench], tmp_path: Path) -> None:
    for name, height, width in (("a.png", 40, 80), ("c.png", 80, 40)):
        cv2.imwrite(str(tmp_path / name), np.full((height, width, 3), 90, np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    sizes = SizeRange(min=(16, 16), opt=(32, 32), max=(64, 64), multiple=16)
    ring = bench(live=False, size=sizes)
    records = []

    def keep_records(seconds: float) -> bool:
        for frame in ring.table.ready():
            records.append(ring.table.record(5, frame.slot))
        return ring.pause(seconds)

    assert ring.loop(FolderReader(str(tmp_path)), pause=keep_records).run()
    keep_records(0.0)
    assert [(record.file, record.frame_id, record.height, record.width) for record in records] == [
        ("a.png", 0, 40, 80),
        ("c.png", 2, 80, 40),
    ]
    shapes = [(record.input_height, record.input_width) for record in records]
    assert shapes[0] == shapes[1][::-1] != shapes[1]
    assert shapes == [ring.fitter.input_size(40, 80), ring.fitter.input_size(80, 40)]
    assert all(record.source == 5 and 0 < record.captured_ns <= time.monotonic_ns() for record in records)
    assert ring.table.counts().decode_error == 1
