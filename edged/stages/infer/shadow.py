# SPDX-License-Identifier: Apache-2.0
"""Trying an engine on live frames: what the running engine made of them goes beside what the new one makes of them.

Three processes take turns over two samples (`edged.shm.sample`), one frame at a time:

    the running one copies a frame and its outputs into *ours* ─▶ the candidate infers that frame and puts its outputs
    into *theirs* ─▶ the judge compares, and gives both back

The running one looks at its own clock and at two words a batch; it copies a frame when both samples are free, and not
more often than twenty times a second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.records import FrameRecord, TensorSpec
from edged.shm.output_table import OutputTable
from edged.shm.pixels import OutputTensors
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.shm.wake import Wake
from edged.stages.infer.executor import BatchInput, Executor
from edged.stages.infer.pipeline import Picks, SlotPipeline

_EVERY_NS = 50_000_000
_TRIAL_S = 20.0


class Exhibit(NamedTuple):
    """A sample and its arrays."""

    sample: Sample
    arrays: SampleArrays

    @classmethod
    def of(cls, sample: Sample, tensors: Sequence[TensorSpec]) -> Exhibit:
        """A sample that holds outputs of such tensors."""
        return cls(sample, SampleArrays(sample, tensors))


class Shadow:
    """The running engine's side: a tap of the pipeline that sets frames aside with what was made of them.

    Args:
        pipeline: that is tapped.
        outputs: the output ring.
        ours: where frames go.
        wake: of the candidate.
    """

    def __init__(self, pipeline: SlotPipeline, outputs: OutputTable, ours: Exhibit, wake: Wake) -> None:
        self._pipeline = pipeline
        self._tensors = OutputTensors(outputs)
        self._ours = ours
        self._wake = wake
        self._next_ns = 0
        self._turn = 0

    def __call__(self, output: int, picks: Picks) -> None:
        """Look at a delivered batch, see `edged.stages.infer.pipeline.Tap`."""
        now = time.monotonic_ns()
        if now < self._next_ns or not self._ours.sample.claim():
            return
        self._next_ns = now + _EVERY_NS
        # One place after the other: the first would mostly be the same source's.
        self._turn += 1
        place = self._turn % len(picks)
        index, ready = picks[place]
        source, (sample, arrays) = self._pipeline.source(index), self._ours
        sample.describe(source.table.record(index, ready.slot))
        arrays.frame(*ready.shape)[0][...] = source.pixels.frame(ready.slot, *ready.shape)
        arrays.store(self._tensors.outputs(output, len(picks)), place)
        sample.seal(self._turn)
        sample.hand_over()
        self._wake.set()

    def close(self) -> None:
        """Let go of the sample."""
        self._wake.close()
        self._ours.sample.close()


class _Into:
    """A batch of one whose outputs go into a sample."""

    def __init__(self, exhibit: Exhibit, tensors: Sequence[TensorSpec]) -> None:
        self._exhibit = exhibit
        self._tensors = tensors

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        """See `edged.stages.infer.executor.BatchOutput`."""
        extents = self._tensors[index].shape if shape is None else shape
        self._exhibit.sample.set_shape(index, extents)
        view: NDArray[np.generic] = self._exhibit.arrays.view(index, extents)[None]
        return view

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """See `edged.stages.infer.executor.BatchOutput`."""
        self._exhibit.sample.set_shape(index, shape)


class Candidate:
    """The new engine's side.

    Args:
        executor: of the new engine, with nothing in flight.
        tensors: the prepared graph's outputs.
        ours: frames, and what the running engine made of them.
        theirs: for what this one makes of them.
        wake: of the judge.
    """

    def __init__(
        self, executor: Executor, tensors: Sequence[TensorSpec], ours: Exhibit, theirs: Exhibit, wake: Wake
    ) -> None:
        self._executor = executor
        self._ours, self._theirs = ours, theirs
        self._into = _Into(theirs, tensors)
        self._wake = wake

    def infer_next(self) -> bool:
        """Infer the frame that was set aside, if one was and this was not done yet.

        Raises:
            EdgedError: the engine cannot run, or hangs.
        """
        ours, theirs = self._ours.sample, self._theirs.sample
        if not ours.ready or not theirs.claim():
            return False
        frame: FrameRecord = ours.begin()
        batch = self._ours.arrays.frame(frame.input_height, frame.input_width)
        self._executor.submit(0, BatchInput([batch[0]], batch), self._into)
        if not self._executor.wait(0, _TRIAL_S):
            raise InternalError(f"a frame was not inferred within {_TRIAL_S:g} s", where="infer")
        self._executor.collect(0)
        theirs.seal(frame.frame_id)
        theirs.hand_over()
        self._wake.set()
        return True

    def close(self) -> None:
        """Let go of the samples."""
        self._wake.close()
        self._ours.sample.close()
        self._theirs.sample.close()
