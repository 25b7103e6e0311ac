# SPDX-License-Identifier: Apache-2.0
"""Everything the processes share, created and owned by the supervisor: it outlives each of them."""

from __future__ import annotations

from collections.abc import Sequence

from edged.shm.board import FIRST_CAPTURE_ROW, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.sample import Sample
from edged.shm.wake import Wake

_PATIENCE_S = 0.3


class Rings:
    """A frame ring and a wake-up a source, one output ring, the board, and the wake-ups of infer, publish and verify.

    Args:
        live: for every source, whether it is live.
        slots: of the infer pipeline, K.
        frame_bytes: of the largest frame.
        outputs: layout of the output ring.
        verify: whether there is a verify process: then each source has room for a sample.
    """

    def __init__(
        self, live: Sequence[bool], *, slots: int, frame_bytes: int, outputs: OutputLayout, verify: bool = False
    ) -> None:
        # Live: K frames in flight, one that waits, one being written. Lossless: K batches in flight and one being
        # filled.
        lossless_slots = (slots + 1) * outputs.max_batch
        self.frames = [
            FrameTable.create(slots + 2 if is_live else lossless_slots, frame_bytes, live=is_live) for is_live in live
        ]
        self.spaces = [Wake() for _ in live]
        self.outputs = OutputTable.create(outputs)
        # A process that was stopped while it held a lock must not stop the supervisor too.
        self.outputs.be_patient_for(_PATIENCE_S)
        for table in self.frames:
            table.be_patient_for(_PATIENCE_S)
        self.samples = [Sample.create(frame_bytes, outputs.tensors) for _ in live] if verify else []
        self.verify_row = FIRST_CAPTURE_ROW + len(live)
        self.board = Board.create(self.verify_row + 1)
        self.wake_infer = Wake()
        self.wake_publish = Wake()
        self.wake_verify = Wake()

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
