# SPDX-License-Identifier: Apache-2.0
"""What the state machines around the slot pipeline share, whatever executor it runs on."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from edged.records import Ready, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels
from edged.stages.infer.executor import Executor
from edged.stages.infer.pipeline import SlotPipeline, Source

HEIGHT, WIDTH = 2, 3
SUM = TensorSpec("sum", "int64", (1,))


class PipelineMachine(RuleBasedStateMachine):
    """Two lossless sources of small frames, and a pipeline whose executor gives the sum of each frame's bytes.

    Attributes:
        submitted: source and id of the frames of each batch, in order.
        expected: the sum of each frame by source and id.
    """

    def make_rings(self, slots: int, max_batch: int) -> None:
        """Rings for so many slots of the executor."""
        self.tables = [FrameTable.create((slots + 1) * max_batch, HEIGHT * WIDTH * 3, live=False) for _ in range(2)]
        self.pixels = [FramePixels(table) for table in self.tables]
        self.outputs = OutputTable.create(OutputLayout(slots + 1, max_batch, (SUM,)))
        self.submitted: list[list[tuple[int, int]]] = []
        self.expected: dict[tuple[int, int], int] = {}

    def connect(self, executor: Executor) -> None:
        """The pipeline from the rings through an executor."""
        sources = [Source(table, pixels, -1) for table, pixels in zip(self.tables, self.pixels, strict=True)]
        self.pipeline = SlotPipeline(executor, sources, self.outputs)
        self._max_batch = executor.max_batch

    @rule(first=st.integers(0, 1))
    def submit(self, first: int) -> None:
        output = self.pipeline.output_slot()
        if output is None:
            return
        picks: list[tuple[int, Ready]] = []
        for source in (first, 1 - first):
            room = self._max_batch - len(picks)
            picks += [(source, frame) for frame in self.tables[source].take(self.tables[source].ready()[:room])]
        if picks:
            self.pipeline.submit(output, picks, 5)
            self.submitted.append([(source, frame.frame_id) for source, frame in picks])

    def close_rings(self) -> None:
        """Let go of all memory."""
        del self.pixels, self.pipeline
        for table in self.tables:
            table.close()
        self.outputs.close()
