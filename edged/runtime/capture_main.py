# SPDX-License-Identifier: Apache-2.0
"""The capture process: one source, from its URI to its frame ring."""

from __future__ import annotations

import os

from edged.stages.capture.readers.base import quiet_environment

# OpenCV and FFmpeg read these when they are loaded: FFmpeg's complaints about every damaged packet are no news here.
os.environ.update(quiet_environment())

import cv2
import msgspec

from edged.ranges import Ranges
from edged.runtime.control import Control
from edged.runtime.plans import CapturePlan
from edged.shm.board import Board
from edged.shm.frame_table import FrameTable
from edged.shm.pixels import FramePixels
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.wake import Wake
from edged.stages.capture.fit import FitPlan, Fitter
from edged.stages.capture.loop import CaptureLoop
from edged.stages.capture.pacing import Pacer, RateCap
from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import DecodeError, Reader, ReadFailedError
from edged.stages.capture.sampling import Sampler
from edged.stages.capture.uri import SourceUri, parse


def serve(_name: str, control: Control) -> None:
    """Capture one source until it ends, fails or is to stop."""
    # One picture is resized at a time and every source has a process: more threads would only fight over the cores.
    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, CapturePlan)
    frames, wake_infer, space, board, *sample = note.fds
    table = FrameTable(Region(frames))
    table.set_ended(False)
    source = parse(plan.uri)
    try:
        reader = open_reader(source, live=table.live)
    except ReadFailedError as error:
        control.tell("failed", {"reason": str(error), "permanent": error.permanent})
        return
    control.tell("opened", {"decode": reader.decode})
    fitter = Fitter(msgspec.convert(plan.fit, FitPlan))
    ranges = Ranges(plan.profile)
    for part, stages in ((reader, {"read": "decode"}), (fitter, {"fit": "fit"}), (table, {"commit": "hand-over"})):
        ranges.cover(part, stages)
    loop = CaptureLoop(
        reader,
        fitter,
        table,
        FramePixels(table),
        wake_infer=Wake(wake_infer),
        space=Wake(space),
        row=Board(Region(board)).row(plan.row),
        pacer=_pacer(source, reader, live=table.live),
        cap=RateCap(plan.fps) if plan.fps else None,
        repeat=plan.repeat,
        pause=control.pause,
        sampler=Sampler(Sample(Region(sample[0])), plan.verify_every) if sample else None,
    )
    try:
        _skip(reader, plan.skip, control)
        ended = loop.run()
    except ReadFailedError as error:
        control.tell("failed", {"reason": str(error), "permanent": error.permanent})
        return
    finally:
        reader.close()
    if ended:
        table.set_ended(True)
        Wake(wake_infer).set()
        control.tell("ended")


def _skip(reader: Reader, count: int, control: Control) -> None:
    """Pass over what was taken before this process replaced another one."""
    for _ in range(count):
        if control.should_stop():
            return
        try:
            if reader.read() is None:
                return
        except DecodeError:
            continue


def _pacer(source: SourceUri, reader: Reader, *, live: bool) -> Pacer | None:
    """Files and synthetic scenes have no clock of their own: played live, they are paced by their rate."""
    if live and source.kind in ("file", "dir", "synthetic"):
        return Pacer(reader.fps or 30.0)
    return None
