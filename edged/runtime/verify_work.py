# SPDX-License-Identifier: Apache-2.0
"""What the verify process does once it has stepped back: samples through the FP32 reference, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.geometry import Region as Part
from edged.geometry import Size, place
from edged.records import FrameRecord
from edged.runtime.control import Control
from edged.runtime.plans import VerifyPlan
from edged.shm.board import Board
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.shm.wake import Wake
from edged.stages.infer.ort import open_session
from edged.stages.postprocess.mask import covered_cells
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor
from edged.stages.verify.compare import Comparer
from edged.stages.verify.loop import Checked, Feed, Outputs, Reference, VerifyLoop

_LONGEST_WAIT_S = 0.5


def work(_name: str, control: Control) -> None:
    """Look at samples until told to stop."""
    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, VerifyPlan)
    wake_fd, board_fd = note.fds
    feeds = _feeds(control, plan)
    reading = msgspec.convert(plan.postprocess, PostprocessPlan)
    comparer = Comparer(reading.task, Postprocessor(reading).run, covered_by(reading))
    reference = open_reference(plan)
    wake = Wake(wake_fd)

    def report(checked: Checked) -> None:
        found = checked.agreement._asdict()
        control.tell("checked", {"source": checked.source, "frame_id": checked.frame_id, **found})

    loop = VerifyLoop(feeds, reference, comparer.compare, report, Board(Region(board_fd)).row(plan.row))
    loop.run(control.should_stop, lambda: wake.wait(_LONGEST_WAIT_S))


def open_reference(plan: VerifyPlan) -> Reference:
    """Load the reference, for one thread.

    Raises:
        ModelError: ONNX Runtime does not take it.
    """
    session = open_session(Path(plan.reference), 1, plan.libraries)
    given = session.get_inputs()[0].name
    names = [tensor.name for tensor in plan.tensors]

    def run(frames: NDArray[np.uint8]) -> Outputs:
        # A model that takes one size of batch only gets the frame as often as it wants.
        batch = frames if plan.fixed_batch is None else np.repeat(frames, plan.fixed_batch, axis=0)
        found = session.run(names, {given: batch})
        return {name: outputs[:1] for name, outputs in zip(names, found, strict=True)}

    return run


def covered_by(plan: PostprocessPlan) -> Callable[[Size, FrameRecord], Part]:
    """What tells which part of a mask shows the picture."""

    def covered(grid: Size, frame: FrameRecord) -> Part:
        sizes = (frame.height, frame.width), (frame.input_height, frame.input_width)
        return covered_cells(grid, place(plan.resize, plan.align, *sizes, frame.view))

    return covered


def _feeds(control: Control, plan: VerifyPlan) -> list[Feed]:
    feeds = []
    for _ in range(plan.sources):
        sample = Sample(Region(control.expect("source").fds[0]))
        feeds.append(Feed(sample, SampleArrays(sample, plan.tensors)))
    return feeds
