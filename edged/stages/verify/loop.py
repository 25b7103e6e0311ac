# SPDX-License-Identifier: Apache-2.0
"""The verify loop: each sample that is ready goes through the reference, and the two results are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.agreement import Agreement
from edged.records import FrameRecord
from edged.shm.board import Row
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays

_REFERENCE, _COMPARE = range(2)

Outputs = Mapping[str, NDArray[Any]]
Reference = Callable[[NDArray[np.uint8]], Outputs]
Compare = Callable[[Outputs, Outputs, FrameRecord], Agreement]


class Feed(NamedTuple):
    """One source's sample."""

    sample: Sample
    arrays: SampleArrays


class Checked(NamedTuple):
    """A frame that was looked at: index of its source, its number, and the outcome."""

    source: int
    frame_id: int
    agreement: Agreement


class VerifyLoop:
    """Looks at samples.

    Args:
        feeds: the sources, by index.
        reference: frames, uint8 ``1×height×width×3`` → outputs by name, batches of one.
        compare: outputs, the reference's outputs, frame → how far they agree.
        report: told of every frame looked at.
        row: this process's row of the board.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        reference: Reference,
        compare: Compare,
        report: Callable[[Checked], None],
        row: Row,
    ) -> None:
        self._feeds = feeds
        self._reference = reference
        self._compare = compare
        self._report = report
        self._row = row
        for feed in feeds:
            feed.sample.recover_tried()

    def run(self, should_stop: Callable[[], bool], wait: Callable[[], bool]) -> None:
        """Work until told to stop.

        Args:
            should_stop: looked at before every frame.
            wait: waits for the wake-up that comes with every sample, a while at the most; whether it came.
        """
        # At first there may be one whose wake-up the process before this one has taken.
        awake = True
        while not should_stop():
            for source in range(len(self._feeds) if awake else 0):
                if self._feeds[source].sample.ready and not should_stop():
                    self._check(source)
            awake = wait()

    def _check(self, source: int) -> None:
        sample, arrays = self._feeds[source]
        frame = sample.begin()
        with self._row.timed(_REFERENCE):
            reference = self._reference(arrays.frame(frame.input_height, frame.input_width))
        with self._row.timed(_COMPARE):
            agreement = self._compare(arrays.outputs(), reference, frame)
        sample.release()
        self._row.beat()
        self._report(Checked(source, frame.frame_id, agreement))
