# SPDX-License-Identifier: Apache-2.0
"""The capture loop: pictures from a reader, fitted into the frame ring.

Live sources are paced by their own clock and never wait for anybody: a newer frame overwrites the one that waits.
Lossless sources wait for a free slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edged.records import FrameRecord
from edged.shm.board import Row
from edged.shm.frame_table import CAPTURED, FrameTable
from edged.shm.pixels import FramePixels
from edged.shm.wake import Wake
from edged.stages.capture.fit import Fitter
from edged.stages.capture.losses import Losses
from edged.stages.capture.pacing import Pacer, RateCap
from edged.stages.capture.progress import Progress
from edged.stages.capture.readers.base import DecodeError, Picture, Reader, ReadFailedError
from edged.stages.capture.sampling import Sampler

_DECODE, _FIT, _HAND_OVER = range(3)
_LONGEST_WAIT_S = 0.5


class CaptureLoop:
    """Moves one source's pictures into its ring.

    Args:
        reader: the open source.
        fitter: writes a picture into a slot at the model's input size.
        table: the ring's slots and counters.
        pixels: the ring's pixels.
        wake_infer: set for every frame handed over.
        space: set by infer when it freed a slot.
        row: this process's row of the board.
        pacer: when the next frame is due; None for sources that have a clock of their own or need none.
        cap: upper bound of the rate; None for none.
        repeat: whether to start again at the end.
        pause: waits the given seconds at the most and tells whether the source is to stop.
        sampler: sets frames aside for the verify process; None where there is none.
        sized: told the height and width of the first picture, and of each that differs from the one before.
        losses: told of every frame that is no picture, or a damaged one.
    """

    def __init__(
        self,
        reader: Reader,
        fitter: Fitter,
        table: FrameTable,
        pixels: FramePixels,
        *,
        wake_infer: Wake,
        space: Wake,
        row: Row,
        pacer: Pacer | None,
        cap: RateCap | None,
        repeat: bool,
        pause: Callable[[float], bool],
        sampler: Sampler | None = None,
        sized: Callable[[int, int], None] | None = None,
        losses: Losses | None = None,
    ) -> None:
        self._reader = reader
        self._fitter = fitter
        self._table = table
        self._pixels = pixels
        self._wake_infer = wake_infer
        self._space = space
        self._row = row
        self._progress = Progress(row)
        self._pacer = pacer
        self._cap = cap
        self._repeat = repeat
        self._pause = pause
        self._sampler = sampler
        self._sized = sized
        self._losses = losses
        self._size = (0, 0)

    def cap_at(self, fps: float | None) -> None:
        """Change the upper bound of the rate, frames a second; None for none."""
        self._cap = RateCap(fps) if fps else None

    def run(self) -> bool:
        """Work until the source ends (True) or is told to stop (False).

        Raises:
            ReadFailedError: the source failed.
        """
        taken_since_rewind = 0
        self._progress.expect()
        while not self._pause(0.0):
            if not self._wait_until_due():
                return False
            try:
                picture = self._read()
            except DecodeError as error:
                self._lose(error)
                continue
            if picture is None:
                if not (self._repeat and taken_since_rewind):
                    return True
                if self._losses is not None:
                    self._losses.lap()
                self._reader.rewind()
                taken_since_rewind = 0
                continue
            self._progress.arrived()
            if self._losses is not None:
                self._losses.look()
            if picture.overtaken:
                self._table.count_overtaken(picture.overtaken)
            taken_since_rewind += 1
            if not self._hand_over(picture):
                return False
            # Let go of it before the next one is made: that gets the same memory, which the caches still hold.
            del picture
        return False

    def _lose(self, error: DecodeError) -> None:
        """Count a frame that is no picture."""
        frame_id = self._table.words[CAPTURED]
        self._table.count_broken()
        if self._table.live:
            self._progress.broken()
        else:
            self._progress.expect()  # one frame nearer to the end is progress too
        if self._losses is not None:
            self._losses.lost(frame_id, error)

    def _read(self) -> Picture | None:
        with self._row.timed(_DECODE):
            if self._table.live:
                return self._reader.read()
            # Should it kill this process: the one that replaces it has to know over which frame.
            self._progress.attempt(self._table.words[CAPTURED])
            try:
                picture = self._reader.read()
            except (DecodeError, ReadFailedError):
                # Any other error ends this process as surely as a crash in C does, and counts like one.
                self._progress.survived()
                raise
            self._progress.survived()
            return picture

    def _wait_until_due(self) -> bool:
        """Wait for the next frame's time; False when told to stop."""
        due_ns = 0
        if self._pacer is not None:
            due_ns = self._pacer.due_ns(time.monotonic_ns())
        if self._cap is not None and not self._table.live:
            due_ns = max(due_ns, self._cap.next_ns(time.monotonic_ns()))
        if due_ns <= time.monotonic_ns():
            return True
        while (left := due_ns - time.monotonic_ns()) > 0:
            self._progress.wait()
            if self._pause(min(_LONGEST_WAIT_S, left / 1e9)):
                return False
        self._progress.expect()
        return True

    def _hand_over(self, picture: Picture) -> bool:
        """Put a picture into the ring; False when told to stop meanwhile."""
        if self._cap is not None and not self._cap.allow(picture.captured_ns) and self._table.live:
            return True
        slot = self._slot()
        if slot is None:
            return False
        height, width = size = picture.source_size or picture.image.shape[:2]
        if size != self._size:
            self._size = height, width
            if self._sized is not None:
                self._sized(height, width)
        in_height, in_width = self._fitter.input_size(height, width)
        with self._row.timed(_FIT):
            pixels = self._pixels.frame(slot, in_height, in_width)
            self._fitter.fit(picture.image, pixels, picture.source_size)
        with self._row.timed(_HAND_OVER):
            frame = FrameRecord(
                source=0,
                frame_id=0,
                captured_ns=picture.captured_ns,
                captured_at_ns=picture.captured_at_ns,
                width=width,
                height=height,
                input_width=in_width,
                input_height=in_height,
                file=picture.file,
                view=self._fitter.view(height, width),
                damaged=picture.damaged,
            )
            if self._sampler is not None:
                self._sampler.look(pixels, frame)
            frame_id = self._table.commit(slot, frame, time.monotonic_ns())
            if self._sampler is not None:
                self._sampler.seal(frame_id)
            self._wake_infer.set()
        if picture.damaged and self._losses is not None:
            self._losses.damaged(frame_id)
        return True

    def _slot(self) -> int | None:
        """A slot to write into, waiting for one if need be; None when told to stop meanwhile."""
        slot = self._table.acquire()
        if slot is not None:
            return slot
        while slot is None:
            self._progress.wait()
            self._space.wait(_LONGEST_WAIT_S)
            # Looked at after every wake-up: the supervisor wakes a source that waits for space to end it.
            if self._pause(0.0):
                return None
            slot = self._table.acquire()
        self._progress.expect()
        return slot
