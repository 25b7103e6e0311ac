# SPDX-License-Identifier: Apache-2.0
"""Everything the processes share, created and owned by the supervisor: it outlives each of them."""

from __future__ import annotations

from collections.abc import Sequence

from edged.errors import InternalError
from edged.shm.board import FIRST_CAPTURE_ROW, MOST_SOURCES, ROWS, VERIFY_ROW, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.sample import Sample
from edged.shm.wake import Wake

_PATIENCE_S = 0.3


class Rings:
    """A frame ring and a wake-up a source, one output ring, the board, and the wake-ups of infer, publish and verify.

    Sources come and go. Lists are by the order of the sources in the settings. In shared memory, and in what infer and
    publish know, a source goes by its *seat*, which it keeps as long as it is there.

    Args:
        live: for every source, whether it is live.
        slots: of the infer pipeline, K.
        frame_bytes: of the largest frame.
        outputs: layout of the output ring.
        verify: whether there is a verify process: then each source has room for a sample.

    Attributes:
        frame_bytes: of the largest frame.
        seats: of the sources.
        origins: frames of each source that were counted before its capture process began at the source's beginning.
    """

    def __init__(
        self, live: Sequence[bool], *, slots: int, frame_bytes: int, outputs: OutputLayout, verify: bool = False
    ) -> None:
        self._slots, self.frame_bytes, self._layout, self._verify = slots, frame_bytes, outputs, verify
        self.frames: list[FrameTable] = []
        self.spaces: list[Wake] = []
        self.samples: list[Sample] = []
        self.seats: list[int] = []
        self.origins: list[int] = []
        self.outputs = OutputTable.create(outputs)
        # A process that was stopped while it held a lock must not stop the supervisor too.
        self.outputs.be_patient_for(_PATIENCE_S)
        self.verify_row = VERIFY_ROW
        self.board = Board.create(ROWS)
        self.wake_infer = Wake()
        self.wake_publish = Wake()
        self.wake_verify = Wake()
        for is_live in live:
            self.add(is_live)

    def add(self, is_live: bool, history: Sequence[int] = ()) -> int:
        """Make room for one more source; returns its place in the lists, which is the last one.

        Args:
            is_live: latest wins, or lossless.
            history: what `remove` returned when a source of this name went.

        Raises:
            InternalError: there are as many as the board has rows for.
        """
        seat = next((each for each in range(MOST_SOURCES) if each not in self.seats), None)
        if seat is None:
            raise InternalError(f"there is no room for more than {MOST_SOURCES} sources")
        # Live: K frames in flight, one that waits, one being written. Lossless: K batches in flight and one being
        # filled.
        slots = self._slots + 2 if is_live else (self._slots + 1) * self._layout.max_batch
        table = FrameTable.create(slots, self.frame_bytes, live=is_live, history=history)
        table.be_patient_for(_PATIENCE_S)
        self.frames.append(table)
        self.spaces.append(Wake())
        if self._verify:
            self.samples.append(Sample.create(self.frame_bytes, self._layout.tensors))
        self.seats.append(seat)
        self.origins.append(table.counts().captured)
        self.board.row(FIRST_CAPTURE_ROW + seat).clear()
        return len(self.frames) - 1

    def remove(self, index: int) -> tuple[int, ...]:
        """Let go of a source that nobody has anything of any more; returns its counters, for when it comes back.

        Args:
            index: its place in the lists; those behind it move up.

        Raises:
            SharedMemoryError: a process was stopped with a lock in hand; nothing was removed.
        """
        history = self.frames[index].history()
        self.frames.pop(index).close()
        self.spaces.pop(index).close()
        if self.samples:
            self.samples.pop(index).close()
        del self.seats[index], self.origins[index]
        return history

    def index_of(self, seat: int) -> int:
        """Where the source with a seat stands in the lists."""
        return self.seats.index(seat)

    def capture_row(self, index: int) -> int:
        """The row of the board that belongs to a source's capture process."""
        return FIRST_CAPTURE_ROW + self.seats[index]

    def wake_all(self) -> None:
        """Wake every process, so that it looks at its control channel."""
        for wake in (self.wake_infer, self.wake_publish, self.wake_verify, *self.spaces):
            wake.set()

    def close(self) -> None:
        """Release everything; the memory goes with the last process that maps it."""
        for table in self.frames:
            table.close()
        for sample in self.samples:
            sample.close()
        self.outputs.close()
        self.board.close()
        for wake in (self.wake_infer, self.wake_publish, self.wake_verify, *self.spaces):
            wake.close()
