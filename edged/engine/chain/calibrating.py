# SPDX-License-Identifier: Apache-2.0
"""Calibration of a build: from the cache where nothing has changed, else by running the images."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from numpy.typing import NDArray

from edged.engine.bench import Bench, on_first
from edged.engine.calibration.cache import CalibrationCache
from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.calibration.key import CalibrationKey, collector_settings, image_ids
from edged.engine.chain.counted import Counted, counting
from edged.engine.images import FrameBatches, Image
from edged.engine.int8.calibrate import Calibration, calibrate
from edged.engine.int8.collect import portions
from edged.engine.int8.plan import digest_of
from edged.engine.int8.view import GraphView, view
from edged.engine.int8.write import raised
from edged.engine.memory import portion_bytes
from edged.engine.padding import Filled
from edged.engine.protocol import Note, Phase
from edged.engine.weighing import COLLECTING, or_last, worthwhile
from edged.engine.workshop import Job
from edged.errors import EngineError
from edged.graph.sizes import size_bounds

_REMEDY = "ask for fp16 or fp32, or export the model in float32 with convolutions whose weights are constants"


@dataclass(frozen=True)
class Subject:
    """The graph that is quantized.

    Attributes:
        job: the build.
    """

    job: Job

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The prepared graph in an opset that has Q/DQ; not to be changed."""
        return raised(self.job.model)

    @cached_property
    def view(self) -> GraphView:
        """What can be quantized in it."""
        return view(self.model, size_bounds(self.job.spec.input)[1])

    @cached_property
    def digest(self) -> str:
        """Of the graph, as plans name it."""
        return digest_of(self.model)

    def check(self) -> None:
        """Make sure that there is something to quantize.

        Raises:
            EngineError: there is not, or nobody can run the graph.
        """
        where = str(self.job.spec.onnx)
        if self.job.prepared.unknown:
            unknown = ", ".join(self.job.prepared.unknown)
            raise EngineError(
                f"the model cannot be quantized: ONNX Runtime, which calibrates, lacks {unknown}",
                where=where,
                remedy="ask for fp16 or fp32, or give a library of these operators for ONNX Runtime with --plugin",
            )
        if not any(one.weighted for one in self.view.candidates):
            kinds = sorted({node.op_type for node in self.model.graph.node})
            raise EngineError(
                "nothing in the model can be computed in INT8: it has no convolution and no matrix product with "
                f"constant float32 weights, only {', '.join(kinds[:8])}",
                where=where,
                remedy=_REMEDY,
            )

    def frames(self, images: Sequence[Image]) -> Sequence[NDArray[Any]]:
        """Images as the graph takes them, in batches of the only size it takes, else one by one."""
        fixed = self.job.prepared.fixed_batch or 1
        return Filled(FrameBatches(images, self.job.spec.input, fixed), fixed)


def calibration_key(subject: Subject, images: CalibrationSet, runtime: str) -> CalibrationKey:
    """All that the ranges depend on.

    Args:
        subject: the graph.
        images: to take ranges from.
        runtime: that runs it, see `edged.engine.bench.Bench`.
    """
    job = subject.job
    settings = collector_settings(subject.view.tensors, runtime=runtime, graph=subject.digest)
    return CalibrationKey(
        model=job.prepared.digest,
        images=image_ids(images.images),
        preprocessing=job.spec.input.model_dump(mode="json"),
        settings=settings,
    )


class Calibrated(NamedTuple):
    """What is known of a graph's tensors, and the digest of all that this depends on."""

    calibration: Calibration
    key: str


def calibrated(subject: Subject, images: CalibrationSet, benches: Sequence[Bench]) -> Calibrated:
    """What is to be known of a graph's tensors; from the cache where nothing has changed since.

    Args:
        subject: the graph.
        images: to take ranges from.
        benches: where the graph can run, the best first.

    Raises:
        EngineError: the model yields values that are not finite, or an image has changed.
    """
    subject.job.tell(Phase("calibrating"))
    return on_first(_best(subject, images, benches), subject.job.tell, lambda one: _calibrated(subject, images, one))


def _best(subject: Subject, images: CalibrationSet, benches: Sequence[Bench]) -> Sequence[Bench]:
    """Where what is known comes from, else what is worth opening."""
    cache = CalibrationCache(Path(subject.job.request.state_dir), subject.job.spec.id)
    known = [bench for bench in benches if cache.holds(calibration_key(subject, images, bench.runtime))]
    if known:
        return or_last(known[0], benches)
    batches = [subject.frames(images.of_folder(name)) for name in images.folders]
    runs = COLLECTING * _passes(subject) * sum(map(len, batches))
    return worthwhile(benches, subject.model, batches[0][0], runs, 1.0, subject.job.tell)


def _passes(subject: Subject) -> int:
    """Once to see how large the batches are, then once for each portion."""
    most, largest = portion_bytes(subject.job.request), subject.job.prepared.fixed_batch or 1
    return 1 + len(portions(subject.view.tensors, subject.view.nbytes, most // largest))


def _calibrated(subject: Subject, images: CalibrationSet, bench: Bench) -> Calibrated:
    job = subject.job
    key = calibration_key(subject, images, bench.runtime)
    cache = CalibrationCache(Path(job.request.state_dir), job.spec.id)
    looked = cache.look_up(key)
    for note in looked.notes:
        job.tell(Note(note))
    if looked.sets is not None:
        return Calibrated(Calibration(subject.view, looked.sets, subject.digest), key.digest())
    start = time.monotonic()
    found = _collected(subject, images, bench)
    took = time.monotonic() - start
    job.tell(Note(f"{len(images.images)} images were run by {bench.runtime} in {took:.1f} s"))
    note = cache.store(key, found.histograms)
    if note:
        job.tell(Note(note))
    return Calibrated(found, key.digest())


def _collected(subject: Subject, images: CalibrationSet, bench: Bench) -> Calibration:
    tell, most = subject.job.tell, portion_bytes(subject.job.request)
    sets = {name: subject.frames(images.of_folder(name)) for name in images.folders}
    with counting(tell, "batches", _passes(subject) * sum(map(len, sets.values()))) as count, contextlib.closing(bench):
        counted = {name: Counted(batches, count) for name, batches in sets.items()}
        return calibrate(subject.model, subject.view, counted, bench.open, portion_bytes=most)
