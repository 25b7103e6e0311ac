# SPDX-License-Identifier: Apache-2.0
"""The infer process: the prepared graph over every source's ring.

One thread runs Python. Where ONNX Runtime runs several batches at a time, each has a thread besides, which spends its
life inside ONNX Runtime without Python's lock.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edged.ranges import Ranges
from edged.runtime.control import Control
from edged.runtime.layout import layout_of
from edged.runtime.live_infer import LiveInfer, source_of
from edged.runtime.open_executor import batch_limit, open_executor
from edged.runtime.plans import InferPlan
from edged.shm.board import INFER_ROW, Board
from edged.shm.output_table import OutputTable
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.loop import Decide, InferLoop
from edged.stages.infer.pipeline import PROFILED, SlotPipeline, Source


def serve(_name: str, control: Control) -> None:
    """Infer until told to stop; then deliver what was submitted."""
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, InferPlan)
    outputs_fd, wake_fd, wake_publish_fd, board_fd = note.fds
    sources, policies = _sources(control, plan.sources)
    layout = layout_of(plan.outputs)
    outputs, wake = OutputTable(Region(outputs_fd), layout), Wake(wake_fd)
    outputs.generation = plan.generation
    row = Board(Region(board_fd)).row(INFER_ROW)
    ranges = Ranges(plan.profile)
    opened = open_executor(plan, layout, {seat: source.table for seat, source in sources.items()}, outputs, wake)
    try:
        pipeline = SlotPipeline(opened.executor, sources, outputs)
        ranges.cover(pipeline, PROFILED)
        ranges.cover(opened.executor, {"wait": "wait"})
        ranges.cover(wake, {"wait": "wait"})

        def decide(policies: Mapping[int, SourcePolicy]) -> Decide:
            collator = _collator(policies, batch_limit(plan, layout), plan.max_delay_ns)
            return ranges.around("collate", collator.decide)

        loop = InferLoop(
            pipeline,
            sources,
            decide(policies),
            wake=wake,
            wake_publish=Wake(wake_publish_fd),
            row=row,
            announced=opened.announces,
            asynchronous=opened.asynchronous,
            lanes=plan.contexts if plan.engine.backend == "tensorrt" else plan.parallel,
        )
        live = LiveInfer(plan, control, opened, loop, pipeline, decide, outputs, row, sources, policies)
        control.tell("ready", {"io": opened.executor.io, "remarks": opened.remarks, "bus_id": opened.bus_id})
        live.run()
    finally:
        opened.close()


def _sources(control: Control, count: int) -> tuple[dict[int, Source], dict[int, SourcePolicy]]:
    sources, policies = {}, {}
    for _ in range(count):
        seat, source, policy = source_of(control.expect("source"))
        sources[seat], policies[seat] = source, policy
    return sources, policies


def _collator(policies: Mapping[int, SourcePolicy], max_batch: int, max_delay_ns: int) -> Collator:
    """The batching policy; places of sources that have left stay empty."""
    places = range(max(policies, default=-1) + 1)
    return Collator([policies.get(place, SourcePolicy()) for place in places], max_batch, max_delay_ns)
