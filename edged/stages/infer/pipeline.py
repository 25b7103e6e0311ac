# SPDX-License-Identifier: Apache-2.0
"""The slot pipeline: which batch is in which slot of the executor, first in, first out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from edged.records import Ready
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import BatchTimes, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.stages.infer.executor import BatchInput, Elapsed, Executor, Frames

PROFILED = {"submit": "submit", "_hand_over": "deliver"}
"""Stages that are methods of the pipeline, for `edged.ranges.Ranges.cover`."""


class Source(NamedTuple):
    """One source's ring, as infer sees it: the table, the pixels, and the wake-up that says there is space again."""

    table: FrameTable
    pixels: FramePixels
    wake_writer: int


Picks = Sequence[tuple[int, Ready]]
Tap = Callable[[int, Picks], None]
"""Looks at a batch that was just delivered: its slot of the output ring, and its frames, which are still held."""


class _Flight(NamedTuple):
    slot: int
    output: int
    held: dict[int, list[int]]
    frames: int
    closed_ns: int
    picks: Picks


class _OutputSlot:
    """A slot of the output ring for batches of a certain size. Views of fixed shape are made once."""

    def __init__(self, table: OutputTable, tensors: OutputTensors, slot: int, count: int) -> None:
        self._table, self._tensors, self._slot, self._count = table, tensors, slot, count
        self._fixed: dict[int, NDArray[np.generic]] = {}

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        if shape is not None:
            return self._tensors.view(self._slot, index, self._count, shape)
        view = self._fixed.get(index)
        if view is None:
            view = self._fixed[index] = self._tensors.view(self._slot, index, self._count)
        return view

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        self._table.set_shape(self._slot, index, shape)


class Delivered(NamedTuple):
    """A batch whose results were handed to publish.

    Attributes:
        frames: how many were in it.
        took_ns: from closing to delivery.
        elapsed: what the executor says of it.
        held: the slots that its frames lie in, by index of the source.
    """

    frames: int
    took_ns: int
    elapsed: Elapsed
    held: dict[int, list[int]]


class SlotPipeline:
    """Keeps the executor's slots busy and hands results over in the order of submission.

    A frame's slot in its ring stays taken until its batch is delivered: the executor may read it until then.

    Attributes:
        tap: looks at every batch; None for nobody.
    """

    def __init__(
        self, executor: Executor, sources: Sequence[Source] | Mapping[int, Source], outputs: OutputTable
    ) -> None:
        self._executor = executor
        self._sources = dict(sources if isinstance(sources, Mapping) else enumerate(sources))
        self.tap: Tap | None = None
        self._outputs = outputs
        self._tensors = OutputTensors(outputs)
        self._free = list(range(executor.slots))
        self._flights: deque[_Flight] = deque()
        self._places: dict[tuple[int, int], _OutputSlot] = {}
        # By source and slot: height, width, the frame, where it starts. Frames mostly have one shape.
        self._views: dict[int, dict[int, tuple[int, int, Frames, int]]] = {source: {} for source in self._sources}
        # Under the lock, which finishes what an infer process that was killed has left half done.
        outputs.free_slots()

    def add(self, index: int, source: Source) -> None:
        """Take frames of one more source."""
        self._sources[index], self._views[index] = source, {}

    def remove(self, index: int) -> None:
        """Forget a source that `holds` nothing."""
        del self._sources[index], self._views[index]

    def holds(self, index: int) -> bool:
        """Whether a batch under way has frames of a source."""
        return any(index in flight.held for flight in self._flights)

    def source(self, index: int) -> Source:
        """One source."""
        return self._sources[index]

    @property
    def in_flight(self) -> int:
        """Batches submitted and not yet delivered."""
        return len(self._flights)

    @property
    def full(self) -> bool:
        """Whether every slot of the executor has a batch."""
        return not self._free

    def output_slot(self) -> int | None:
        """A slot of the output ring that a new batch may use; None when the executor or the ring is full."""
        if not self._free:
            return None
        return self._outputs.free_slot([flight.output for flight in self._flights])

    def submit(self, output: int, picks: Picks, closed_ns: int) -> None:
        """Start a batch of taken frames, all of one shape.

        Args:
            output: from `output_slot`.
            picks: (source, frame), frames of one source side by side.
            closed_ns: when the batch was closed.
        """
        slot, count = self._free.pop(), len(picks)
        batch, held = self._input(picks)
        into = self._places.get((output, count))
        if into is None:
            into = self._places[output, count] = _OutputSlot(self._outputs, self._tensors, output, count)
        # Noted before it is submitted: if the executor raises, nobody believes the frames free.
        self._flights.append(_Flight(slot, output, held, count, closed_ns, picks))
        self._executor.submit(slot, batch, into)
        # Last, for the device is at work by now.
        sources = self._sources
        self._outputs.describe_taken(output, [(source, sources[source][0], frame[0]) for source, frame in picks])

    def _input(self, picks: Picks) -> tuple[BatchInput, dict[int, list[int]]]:
        """Where the frames of a batch lie, and their slots by source."""
        first, (place, _, _, _, height, width) = picks[0]
        if first == picks[-1][0]:
            # A source's frames are side by side: all are of this one. The device waits for its next batch while this
            # runs, so what lies in one piece is not looked at frame by frame.
            pixels, slots = self._sources[first].pixels, [frame[0] for _, frame in picks]
            whole = pixels.batch(slots, height, width)
            if whole is not None:
                # An array of frames is a sequence of them.
                return BatchInput(cast("Sequence[Frames]", whole), whole, (pixels.address(place),)), {first: slots}
        held: dict[int, list[int]] = {}
        frames, addresses = [], []
        for source, (place, _, _, _, height, width) in picks:
            known = self._views[source].get(place)
            if known is None or known[0] != height or known[1] != width:
                pixels = self._sources[source].pixels
                known = height, width, pixels.frame(place, height, width), pixels.address(place)
                self._views[source][place] = known
            frames.append(known[2])
            addresses.append(known[3])
            if source in held:
                held[source].append(place)
            else:
                held[source] = [place]
        return BatchInput(frames, None, addresses), held

    def done(self, timeout_s: float = 0.0) -> bool:
        """Whether the oldest batch is done; waits at most ``timeout_s`` for it."""
        if not self._flights:
            return False
        slot = self._flights[0].slot
        return self._executor.done(slot) or (timeout_s > 0 and self._executor.wait(slot, timeout_s))

    def deliver(self, timeout_s: float = 0.0, *, release: bool = True) -> Delivered | None:
        """Hand over the oldest batch if it is done.

        Args:
            timeout_s: waits for it at most so long.
            release: free its frames' slots; else the caller does, soon: the ring may be full without them.
        """
        if not self.done(timeout_s):
            return None
        delivered = self._hand_over(self._flights[0])
        if release:
            for source, slots in delivered.held.items():
                self._sources[source].table.release(slots)
        return delivered

    def _hand_over(self, flight: _Flight) -> Delivered:
        """End the oldest batch, which is done."""
        elapsed = self._executor.collect(flight.slot)
        self._flights.popleft()
        # Results first, the frames' slots second: whoever repairs after a kill in between finds the results and loses
        # nothing.
        self._outputs.deliver(flight.output, BatchTimes(flight.closed_ns, elapsed.copy_ns, elapsed.infer_ns))
        self._free.append(flight.slot)
        if self.tap is not None:
            self.tap(flight.output, flight.picks)
        return Delivered(flight.frames, time.monotonic_ns() - flight.closed_ns, elapsed, flight.held)
