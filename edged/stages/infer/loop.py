# SPDX-License-Identifier: Apache-2.0
"""The infer loop: one thread that takes what waits, submits it, and hands over what is done.

It waits on its wake-up descriptor, which is set by whatever it has to look at: new frames, free output slots and, with
most executors, batches that are done; with an executor that does not tell, it waits on the oldest batch while work is
in flight. It never waits for publish: with the output ring full it stops taking frames, so live ones are overwritten by
newer ones in their rings (and counted there) and lossless ones wait.

A device that has a free slot gets its next batch before anything else is tidied up: results are put into the output
ring first (that is little), but publish is woken and the slots of their frames are freed once the next batch was
submitted, or under the lock under which the source's next frame is taken. On a busy machine, whoever wakes another
process may have to give up the core to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence

from edged.records import Ready
from edged.shm.board import Row
from edged.shm.wake import Wake
from edged.stages.infer.cost import Occupancy
from edged.stages.infer.intake import Intake, Picks
from edged.stages.infer.pipeline import SlotPipeline, Source

Decide = Callable[
    [int, Mapping[int, Sequence[Ready]], Callable[[int], int], Container[int], int, int],
    tuple[Picks, Picks, int | None],
]
_COLLATE, _SUBMIT, _INFER, _DELIVER = range(4)
_LONGEST_WAIT_S = 0.5
_LOOK_S = 0.1
"""A device that is lost tells nothing: with work in flight it is asked this often."""


class InferLoop:
    """Ties the rings, the batching policy and the slot pipeline together.

    Args:
        pipeline: over the executor.
        sources: by index; indices may be left out.
        decide: the batching policy, see `edged.stages.collate.policy.Collator.decide`.
        wake: set by capture (a frame is ready), publish (an output slot is free) and the supervisor.
        wake_publish: descriptor to set when results are ready.
        row: this process's row of the board.
        announced: whether ``wake`` is set when a batch is done too, so that the loop need not wait for a certain one.
        asynchronous: whether submitting returns before the batch is done; where it does not, the time of submitting
            holds that of inference, which is taken off again when the batch is delivered.
        lanes: batches that the device computes side by side, where it takes more than that; None where it does not, so
            that no batch ever waits for another one.
    """

    def __init__(
        self,
        pipeline: SlotPipeline,
        sources: Sequence[Source] | Mapping[int, Source],
        decide: Decide,
        *,
        wake: Wake,
        wake_publish: Wake,
        row: Row,
        announced: bool = False,
        asynchronous: bool = True,
        lanes: int | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._decide = decide
        self._wake = wake
        self._wake_publish = wake_publish
        self._row = row
        self._announced = announced
        self._asynchronous = asynchronous
        self._occupancy = Occupancy(lanes)
        given = dict(sources if isinstance(sources, Mapping) else enumerate(sources))
        self._intake = Intake(given)
        self._results = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until ``should_stop``, which is asked at least twice a second; then finish what is in flight."""
        while not should_stop():
            moved = self._deliver_done()
            if not self._asynchronous:
                # Submitting takes as long as the batch: nobody shall wait for that.
                self._release()
            wake_ns = self._submit_next()
            self._release()
            if self._announced:
                if wake_ns != 0 or self._pipeline.full:
                    # Waiting unsets the wake-up before the next look, so that what comes after the look wakes.
                    self._wake.wait(self._until(wake_ns or None))
            elif wake_ns != 0 and not moved:
                if self._pipeline.in_flight:
                    self._pipeline.done(self._until(wake_ns))
                else:
                    self._wake.wait(self._until(wake_ns))

    def add(self, index: int, source: Source) -> None:
        """Take frames of one more source from now on."""
        self._pipeline.add(index, source)
        self._intake.add(index, source)

    def decide_with(self, decide: Decide) -> None:
        """Batch by another policy from now on."""
        self._decide = decide

    def retire(self, index: int) -> None:
        """Take nothing more of a source: what waits in its ring stays there."""
        self._intake.retire(index)

    def remove(self, index: int) -> bool:
        """Forget a source that was retired; False as long as a batch under way has frames of it."""
        if self._pipeline.holds(index) or not self._intake.remove(index):
            return False
        self._pipeline.remove(index)
        return True

    def forget(self) -> None:
        """Forget what waited when this was last looked at: another process has taken frames since."""
        self._intake.forget()

    def drain(self, deadline_s: float) -> bool:
        """Deliver what is in flight within the time given; tells whether all of it was."""
        end = time.monotonic() + deadline_s
        while self._pipeline.in_flight:
            left = end - time.monotonic()
            if left <= 0:
                return False
            if self._pipeline.done(left):
                self._deliver()
                self._release()
        return True

    def _until(self, wake_ns: int | None) -> float:
        """How long to wait at most; None where there is nothing to wait for but a wake-up."""
        longest = _LOOK_S if self._pipeline.in_flight else _LONGEST_WAIT_S
        return longest if wake_ns is None else min(longest, max(0.0, (wake_ns - time.monotonic_ns()) / 1e9))

    def _deliver_done(self) -> bool:
        moved = False
        while self._pipeline.done():
            self._deliver()
            moved = True
        return moved

    def _deliver(self) -> None:
        """Hand over the oldest batch, which is done."""
        wall, cpu = time.monotonic_ns(), time.thread_time_ns()
        delivered = self._pipeline.deliver(release=False)
        assert delivered is not None
        self._results = True
        self._intake.spend(delivered.held)
        elapsed = delivered.elapsed
        self._occupancy.delivered(wall, elapsed.copy_ns)
        self._row.beat()
        self._row.add(_INFER, elapsed.infer_ns, elapsed.cpu_ns)
        if not self._asynchronous:
            self._row.take_off(_SUBMIT, elapsed.infer_ns, elapsed.cpu_ns)
        self._row.add(_DELIVER, time.monotonic_ns() - wall, time.thread_time_ns() - cpu)

    def _release(self) -> None:
        """Tell publish of results, free the slots of their frames, and tell the sources that wait for space."""
        if self._results:
            self._results = False
            self._wake_publish.set()
        self._intake.release()

    def _submit_next(self) -> int | None:
        """Submit a batch if one closes now.

        Returns:
            0 when something was submitted or dropped, else when to look again (nanoseconds), or None.
        """
        if self._pipeline.full:
            # Whatever comes meanwhile is looked at when it can be used.
            return None
        wall, cpu = time.monotonic_ns(), time.thread_time_ns()
        intake = self._intake
        waiting = intake.look()
        output = self._pipeline.output_slot() if waiting else None
        if output is None:
            return None
        device = self._occupancy
        cost, free_ns, lead_ns = device.cost.estimate, device.free_ns(), device.lead_ns
        batch, stale, wake_ns = self._decide(time.monotonic_ns(), waiting, cost, intake.ended, free_ns, lead_ns)
        if stale and not batch and not self._pipeline.in_flight:
            device.cost.doubt()
        picks = intake.take(batch, stale)
        closed, begun, cpu = time.monotonic_ns(), cpu, time.thread_time_ns()
        self._row.add(_COLLATE, closed - wall, cpu - begun)
        if not picks:
            return 0 if batch or stale else wake_ns
        if not self._asynchronous:
            cpu = time.process_time_ns()
        device.closed(len(picks), closed)
        self._pipeline.submit(output, picks, closed)
        after = time.thread_time_ns() if self._asynchronous else time.process_time_ns()
        self._row.add(_SUBMIT, time.monotonic_ns() - closed, after - cpu)
        return 0
