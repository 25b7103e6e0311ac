# SPDX-License-Identifier: Apache-2.0
"""The infer process: the prepared graph over every source's ring.

One thread runs Python. Where ONNX Runtime runs several batches at a time, each has a thread besides, which spends its
life inside ONNX Runtime without Python's lock.
"""

from __future__ import annotations

import msgspec

from edged.ranges import Ranges
from edged.runtime.control import Control
from edged.runtime.layout import layout_of
from edged.runtime.open_executor import open_executor
from edged.runtime.plans import InferPlan, SourcePlan
from edged.shm.board import INFER_ROW, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputTable
from edged.shm.pixels import FramePixels
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.loop import InferLoop
from edged.stages.infer.pipeline import PROFILED, SlotPipeline, Source

_DRAIN_S = 1.0


def serve(_name: str, control: Control) -> None:
    """Infer until told to stop; then deliver what was submitted."""
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, InferPlan)
    outputs_fd, wake_fd, wake_publish_fd, board_fd = note.fds
    sources, policies = _sources(control, plan.sources)
    layout = layout_of(plan.outputs)
    outputs, wake = OutputTable(Region(outputs_fd), layout), Wake(wake_fd)
    ranges = Ranges(plan.profile)
    opened = open_executor(plan, layout, [source.table for source in sources], outputs, wake)
    try:
        pipeline = SlotPipeline(opened.executor, sources, outputs)
        ranges.cover(pipeline, PROFILED)
        ranges.cover(opened.executor, {"wait": "wait"})
        ranges.cover(wake, {"wait": "wait"})
        loop = InferLoop(
            pipeline,
            sources,
            ranges.around("collate", Collator(policies, layout.max_batch, plan.max_delay_ns).decide),
            wake=wake,
            wake_publish=Wake(wake_publish_fd),
            row=Board(Region(board_fd)).row(INFER_ROW),
            announced=opened.announces,
            asynchronous=opened.asynchronous,
        )
        control.tell("ready", {"io": opened.executor.io, "remarks": opened.remarks})
        loop.run(control.should_stop)
        loop.drain(_DRAIN_S)
    finally:
        opened.close()


def _sources(control: Control, count: int) -> tuple[list[Source], list[SourcePolicy]]:
    sources, policies = [], []
    for _ in range(count):
        note = control.expect("source")
        plan = msgspec.convert(note.body, SourcePlan)
        frames, space = note.fds
        table = FrameTable(Region(frames))
        sources.append(Source(table, FramePixels(table), space))
        policies.append(SourcePolicy(plan.max_age_ns, plan.priority))
    return sources, policies
