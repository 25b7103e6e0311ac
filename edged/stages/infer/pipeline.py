# SPDX-License-Identifier: Apache-2.0
"""The slot pipeline: which batch is in which slot of the executor, first in, first out."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.records import Ready
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import BatchTimes, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.stages.infer.executor import BatchInput, Elapsed, Executor


class Source(NamedTuple):
    """One source's ring, as infer sees it: the table, the pixels, and the wake-up that says there is space again."""

    table: FrameTable
    pixels: FramePixels
    wake_writer: int


class _Flight(NamedTuple):
    slot: int
    output: int
    held: dict[int, list[int]]
    frames: int
    closed_ns: int


class _OutputSlot:
    """A slot of the output ring while a batch is written into it."""

    def __init__(self, table: OutputTable, tensors: OutputTensors, slot: int, count: int) -> None:
        self._table, self._tensors, self._slot, self._count = table, tensors, slot, count

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        return self._tensors.view(self._slot, index, self._count, shape)

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        self._table.set_shape(self._slot, index, shape)


class Delivered(NamedTuple):
    """A batch whose results were handed to publish.

    Attributes:
        frames: how many were in it.
        took_ns: from closing to delivery.
        elapsed: what the executor says of it.
        sources: indices of the sources whose slots became free.
    """

    frames: int
    took_ns: int
    elapsed: Elapsed
    sources: list[int]


class SlotPipeline:
    """Keeps the executor's slots busy and hands results over in the order of submission.

    A frame's slot in its ring stays taken until its batch is delivered: the executor may read it until then.
    """

    def __init__(self, executor: Executor, sources: list[Source], outputs: OutputTable) -> None:
        self._executor = executor
        self._sources = sources
        self._outputs = outputs
        self._tensors = OutputTensors(outputs)
        self._free = list(range(executor.slots))
        self._flights: deque[_Flight] = deque()

    @property
    def in_flight(self) -> int:
        """Batches submitted and not yet delivered."""
        return len(self._flights)

    def output_slot(self) -> int | None:
        """A slot of the output ring that a new batch may use; None when the executor or the ring is full."""
        if not self._free:
            return None
        used = {flight.output for flight in self._flights}
        for slot in self._outputs.free_slots():
            if slot not in used:
                return slot
        return None

    def submit(self, output: int, picks: list[tuple[int, Ready]], closed_ns: int) -> None:
        """Start a batch of taken frames, all of one shape.

        Args:
            output: from `output_slot`.
            picks: (source, frame), frames of one source side by side.
            closed_ns: when the batch was closed.
        """
        slot = self._free.pop()
        held: dict[int, list[int]] = {}
        frames, records = [], []
        for source, ready in picks:
            held.setdefault(source, []).append(ready.slot)
            entry = self._sources[source]
            frames.append(entry.pixels.frame(ready.slot, ready.input_height, ready.input_width))
            records.append(entry.table.record(source, ready.slot))
        contiguous = None
        if len(held) == 1:
            (source,) = held
            first = picks[0][1]
            contiguous = self._sources[source].pixels.batch(held[source], first.input_height, first.input_width)
        self._outputs.describe(output, records)
        # Noted before it is submitted: if the executor raises, nobody believes the frames free.
        self._flights.append(_Flight(slot, output, held, len(picks), closed_ns))
        self._executor.submit(
            slot, BatchInput(frames, contiguous), _OutputSlot(self._outputs, self._tensors, output, len(picks))
        )

    def deliver(self, timeout_s: float = 0.0) -> Delivered | None:
        """Hand over the oldest batch if it is done; waits at most ``timeout_s`` for it."""
        if not self._flights:
            return None
        flight = self._flights[0]
        done = self._executor.done(flight.slot) or (timeout_s > 0 and self._executor.wait(flight.slot, timeout_s))
        if not done:
            return None
        elapsed = self._executor.collect(flight.slot)
        self._flights.popleft()
        # Results first, slots second: whoever repairs after a kill in between finds the results and loses nothing.
        self._outputs.deliver(flight.output, BatchTimes(flight.closed_ns, elapsed.copy_ns, elapsed.infer_ns))
        for source, slots in flight.held.items():
            self._sources[source].table.release(slots)
        self._free.append(flight.slot)
        return Delivered(flight.frames, time.monotonic_ns() - flight.closed_ns, elapsed, list(flight.held))
