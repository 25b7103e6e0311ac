# SPDX-License-Identifier: Apache-2.0
"""The capture process: one source, from its URI to its frame ring."""

from __future__ import annotations

import math
import os
import time

from edged.stages.capture.readers.base import quiet_environment

# OpenCV and FFmpeg read these when they are loaded: FFmpeg's complaints about every damaged packet are no news here.
os.environ.update(quiet_environment())

import cv2
import msgspec

from edged.ranges import Ranges
from edged.runtime.channel import Note
from edged.runtime.control import Control
from edged.runtime.plans import CapturePlan
from edged.shm.board import Board
from edged.shm.frame_table import CAPTURED, FrameTable
from edged.shm.pixels import FramePixels
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.wake import Wake
from edged.stages.capture.crop import ViewPlan
from edged.stages.capture.fit import FitPlan, Fitter
from edged.stages.capture.loop import CaptureLoop
from edged.stages.capture.losses import Losses
from edged.stages.capture.pacing import Pacer, RateCap
from edged.stages.capture.page_reuse import keep_pages
from edged.stages.capture.progress import Progress
from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import (
    DecodeError,
    Patience,
    Reader,
    ReadFailedError,
    ending_of,
    notes_of,
    pass_over,
)
from edged.stages.capture.readers.folder import image_names, name_text
from edged.stages.capture.sampling import Sampler
from edged.stages.capture.uri import SourceUri, parse

WITHOUT_CLOCK = ("file", "dir", "synthetic")
"""Kinds of sources that give a frame whenever they are asked for one, and the same frames every time."""
_BY_FFMPEG = ("file", "rtsp")
_MOST_DEATHS = 3
_LOOK_S = 60.0
_TELL_SIZE_S = 60.0


def serve(_name: str, control: Control) -> None:
    """Capture one source until it ends, can never work, or is to stop."""
    # One picture is resized at a time and every source has a process: more threads would only fight over the cores.
    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    _Capture(control, msgspec.convert(note.body, CapturePlan), note.fds).run()


class _Capture:
    """One source, opened as often as the supervisor says: a process outlives the connections that fail.

    Args:
        control: to the supervisor.
        plan: of the source.
        fds: frame ring, wake infer, space, board, and a sample where one is wanted.
    """

    def __init__(self, control: Control, plan: CapturePlan, fds: list[int]) -> None:
        frames, wake_infer, space, board, *sample = fds
        self._control = control
        self._plan = plan
        self._source = parse(plan.uri)
        if self._source.kind in _BY_FFMPEG:
            keep_pages()
        self._table = FrameTable(Region(frames))
        self._table.set_ended(False)
        self._pixels = FramePixels(self._table)
        self._wake_infer, self._space = Wake(wake_infer), Wake(space)
        self._row = Board(Region(board)).row(plan.row)
        self._progress = Progress(self._row)
        self._fitter = Fitter(msgspec.convert(plan.fit, FitPlan), msgspec.convert(plan.view, ViewPlan))
        self._sampler = Sampler(Sample(Region(sample[0])), plan.verify_every) if sample else None
        self._fps = plan.fps
        self._decode = plan.decode
        self._loop: CaptureLoop | None = None
        self._ordered = True
        self._losses = Losses(self._tell_lost, live=self._table.live)
        self._size: tuple[int, int] | None = None
        self._told_size_at = -math.inf
        on_disk = self._source.kind in WITHOUT_CLOCK
        # A lossless source goes on where it was when it was closed: nothing twice, nothing lost.
        self._resumes = on_disk and not self._table.live and not plan.repeat
        self._origin = self._table.words[CAPTURED] - plan.skip
        control.on_note = self._take

    def run(self) -> None:
        """Open and read, and again when told to."""
        while self._ordered:
            self._ordered = False
            try:
                self._once()
                return
            except ReadFailedError as error:
                self._loop = None
                self._progress.rest()
                # What is gone may come back, for whoever runs without end: drives do.
                permanent = error.permanent and not (error.gone and (self._table.live or self._plan.repeat))
                if permanent:
                    self._losses.end()
                self._control.tell("failed", {"reason": str(error), "permanent": permanent, "refused": error.refused})
                if permanent:
                    return
            while not (self._ordered or self._control.pause(_LOOK_S)):
                pass  # the wait is for an order

    def _once(self) -> None:
        self._progress.opening()
        self._pass_over_what_kills()
        patience = Patience(read=self._plan.read_s, step=self._progress.opening)
        reader = open_reader(
            self._source,
            live=self._table.live,
            decode=self._decode,
            placement=self._fitter.placement,
            patience=patience,
        )
        try:
            self._control.tell("opened", {"decode": reader.decode, "notes": notes_of(reader)})
            if self._decode == "auto" and reader.decode == "software":
                self._decode = "software"  # a device that failed is not waited for at every new try
            self._skip(reader)
            loop = self._loop = self._loop_over(reader)
            ended = loop.run()
            ending = ending_of(reader) if ended else ""
        finally:
            reader.close()
        if ended:
            self._table.set_ended(True)
            self._wake_infer.set()
            self._losses.end()
            if ending:
                self._control.tell("remark", {"text": ending})
            self._control.tell("ended")

    def _loop_over(self, reader: Reader) -> CaptureLoop:
        parts = ((reader, {"read": "decode"}), (self._fitter, {"fit": "fit"}), (self._table, {"commit": "hand-over"}))
        ranges = Ranges(self._plan.profile)
        for part, stages in parts:
            ranges.cover(part, stages)
        return CaptureLoop(
            reader,
            self._fitter,
            self._table,
            self._pixels,
            wake_infer=self._wake_infer,
            space=self._space,
            row=self._row,
            pacer=_pacer(self._source, reader, live=self._table.live),
            cap=RateCap(self._fps) if self._fps else None,
            repeat=self._plan.repeat,
            pause=self._control.pause,
            sampler=self._sampler,
            sized=self._sized,
            losses=self._losses,
        )

    def _tell_lost(self, text: str, first: str) -> None:
        self._control.tell("remark", {"text": text, "first": first})

    def _sized(self, height: int, width: int) -> None:
        """Tell of another picture size, in mid-stream or after a new try; in a folder every picture has its own."""
        before, self._size = self._size, (height, width)
        if before in (None, self._size) or self._source.kind == "dir":
            return
        now = time.monotonic()
        if now - self._told_size_at >= _TELL_SIZE_S:
            self._told_size_at = now
            self._control.tell("resized", {"before": before, "now": self._size})

    def _take(self, note: Note) -> None:
        """Take in what the supervisor says meanwhile.

        ``open`` is the order to try again; ``cap`` another upper bound of the rate, below the configured one.
        """
        if note.kind == "open":
            self._ordered = True
        elif note.kind == "cap":
            self._fps = min((cap for cap in (note.body["fps"], self._plan.fps) if cap), default=None)
            if self._loop is not None:
                self._loop.cap_at(self._fps)

    def _pass_over_what_kills(self) -> None:
        """Give up a frame that has killed several processes in a row, for it would kill this one too.

        Raises:
            ReadFailedError: nothing behind it can be had without it.
        """
        if not self._resumes:
            return
        position = self._table.words[CAPTURED]
        deaths = self._progress.deaths(position)
        if deaths < _MOST_DEATHS:
            return
        if self._source.kind != "dir":
            at = f"frame {position - self._origin}"
            raise ReadFailedError(f"reading {at} killed {deaths} processes in a row: it is damaged", permanent=True)
        self._table.count_broken()
        self._losses.lost(position, DecodeError(f"it killed {deaths} processes in a row", file=self._image(position)))

    def _image(self, position: int) -> str:
        """Name of the image at a position of a folder."""
        names, number = image_names(self._source.target), position - self._origin
        return name_text(names[number]) if number < len(names) else f"image {number}"

    def _skip(self, reader: Reader) -> None:
        """Pass over what was taken before the source was closed."""
        if not self._resumes:
            return
        for _ in range(pass_over(reader, self._table.words[CAPTURED] - self._origin)):
            if self._control.should_stop():
                return
            self._progress.opening()
            try:
                if reader.read() is None:
                    return
            except DecodeError:
                continue


def _pacer(source: SourceUri, reader: Reader, *, live: bool) -> Pacer | None:
    """Files and synthetic scenes have no clock of their own: played live, they are paced by their rate."""
    if live and source.kind in WITHOUT_CLOCK:
        return Pacer(reader.fps or 30.0)
    return None
