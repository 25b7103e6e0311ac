# SPDX-License-Identifier: Apache-2.0
"""The verify process: replays samples through the FP32 reference on ONNX Runtime, with what nobody else wants of the
CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from edged.runtime.control import Control
from edged.runtime.plans import VerifyPlan
from edged.shm.board import Board
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.wake import Wake

if TYPE_CHECKING:
    from edged.geometry import Region as Part
    from edged.geometry import Size
    from edged.records import FrameRecord
    from edged.stages.postprocess.plan import PostprocessPlan
    from edged.stages.verify.compare import Task
    from edged.stages.verify.loop import Checked, Feed, Outputs, Reference

_LONGEST_WAIT_S = 0.5
_NICEST = 19


def serve(_name: str, control: Control) -> None:
    """Look at samples until told to stop."""
    step_back()
    # Loaded from here on at idle priority, too: the start of this process disturbs nobody.
    import cv2

    from edged.stages.postprocess.predictions import Postprocessor
    from edged.stages.verify.compare import Comparer
    from edged.stages.verify.loop import VerifyLoop

    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, VerifyPlan)
    wake_fd, board_fd = note.fds
    feeds = _feeds(control, plan)
    reading = msgspec.convert(plan.postprocess, _plan_type())
    comparer = Comparer(cast("Task", reading.task), Postprocessor(reading).run, _covered(reading))
    reference = open_reference(plan)
    row = Board(Region(board_fd)).row(plan.row)
    wake = Wake(wake_fd)

    def report(checked: Checked) -> None:
        found = checked.agreement._asdict()
        control.tell("checked", {"source": checked.source, "frame_id": checked.frame_id, **found})

    control.tell("watching")
    VerifyLoop(feeds, reference, comparer.compare, report, row).run(
        control.should_stop, lambda: wake.wait(_LONGEST_WAIT_S)
    )


def step_back() -> None:
    """Run only when nobody else wants the CPU; where the kernel refuses that, as the least of all."""
    try:
        # Zero: the calling thread and what it starts, which is the whole process, or one thread of ``isolation``.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, 0, _NICEST)


def open_reference(plan: VerifyPlan) -> Reference:
    """Load the reference: one thread, frames in a batch of one (or of as many as the model takes, all the same).

    Raises:
        ModelError: ONNX Runtime does not take it.
    """
    import numpy as np

    from edged.stages.infer.ort import open_session

    session = open_session(Path(plan.reference), 1, plan.libraries)
    given = session.get_inputs()[0].name
    names = [tensor.name for tensor in plan.tensors]

    def run(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Outputs:
        if plan.fixed_batch is not None and plan.fixed_batch > 1:
            frames = np.repeat(frames, plan.fixed_batch, axis=0)
        found = session.run(names, {given: frames})
        return {name: batch[:1] for name, batch in zip(names, found, strict=True)}

    return run


def _feeds(control: Control, plan: VerifyPlan) -> list[Feed]:
    from edged.shm.sample_arrays import SampleArrays
    from edged.stages.verify.loop import Feed

    feeds = []
    for _ in range(plan.sources):
        sample = Sample(Region(control.expect("source").fds[0]))
        feeds.append(Feed(sample, SampleArrays(sample, plan.tensors)))
    return feeds


def _plan_type() -> type[PostprocessPlan]:
    from edged.stages.postprocess.plan import PostprocessPlan

    return PostprocessPlan


def _covered(plan: PostprocessPlan) -> Callable[[Size, FrameRecord], Part]:
    from edged.geometry import place
    from edged.stages.postprocess.mask import covered_cells

    def covered(grid: Size, frame: FrameRecord) -> Part:
        sizes = (frame.height, frame.width), (frame.input_height, frame.input_width)
        return covered_cells(grid, place(plan.resize, plan.align, *sizes))

    return covered
