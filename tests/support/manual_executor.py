# SPDX-License-Identifier: Apache-2.0
"""An executor whose batches end when they are told to, in any order."""

from __future__ import annotations

from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed

_ELAPSED = Elapsed(1, 2)


class ManualExecutor:
    """Sums each frame's bytes once it is allowed to; checks that slots and buffers are used as promised.

    Args:
        slots: batches under way at the most.
        max_batch: frames of a batch at the most.
        elapsed: what every batch is said to have taken.

    Attributes:
        running: what is under way, by slot.
        finished: slots of these whose results are there.
        batches: how many frames each batch had, in order.
    """

    def __init__(self, slots: int, max_batch: int, elapsed: Elapsed = _ELAPSED) -> None:
        self.slots, self.max_batch, self.io = slots, max_batch, "manual"
        self.running: dict[int, tuple[BatchInput, BatchOutput, list[int]]] = {}
        self.finished: set[int] = set()
        self.batches: list[int] = []
        self._elapsed = elapsed

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        assert slot not in self.running, "a slot was used twice"
        assert 1 <= len(batch.frames) <= self.max_batch
        sums = [int(frame.sum()) for frame in batch.frames]
        if batch.contiguous is not None:
            assert [int(frame.sum()) for frame in batch.contiguous] == sums
        self.running[slot] = (batch, output, sums)
        self.batches.append(len(batch.frames))

    def finish(self) -> None:
        """Let everything end that is under way."""
        for slot in self.unfinished():
            self.finish_one(slot)

    def finish_one(self, slot: int) -> None:
        """Let a batch end."""
        batch, output, sums = self.running[slot]
        # Nobody may have written into the frames meanwhile.
        assert [int(frame.sum()) for frame in batch.frames] == sums
        output.view(0)[:, 0] = sums
        self.finished.add(slot)

    def unfinished(self) -> list[int]:
        """Slots of what is under way and has not ended."""
        return sorted(set(self.running) - self.finished)

    def done(self, slot: int) -> bool:
        return slot in self.finished

    def wait(self, slot: int, timeout_s: float) -> bool:
        return slot in self.finished

    def collect(self, slot: int) -> Elapsed:
        self.finished.remove(slot)
        del self.running[slot]
        return self._elapsed

    def close(self) -> None:
        assert not self.running
