# SPDX-License-Identifier: Apache-2.0
"""Evaluates candidates against the FP32 form of the same model: one pass over the images each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from edged.engine.evaluate import meter as meters
from edged.engine.evaluate.classification import ClassificationMeter
from edged.engine.evaluate.detection import DetectionMeter
from edged.engine.evaluate.draw import drawn, side_by_side
from edged.engine.evaluate.findings import WEAKEST_STRONG, Finding, Reader, Run, findings, shown
from edged.engine.evaluate.labels import Labels, Names
from edged.engine.evaluate.options import EvaluationOptions
from edged.engine.evaluate.pairing import WEAK
from edged.engine.evaluate.result import Evaluation, Figure, ScoreShift, WorstFrame
from edged.engine.evaluate.scores import Floats, Score, resamples, spread
from edged.engine.evaluate.segmentation import SegmentationMeter
from edged.engine.evaluate.tensors import TensorMeter
from edged.engine.images import FrameBatches, Image, Survey, Tell, load
from edged.errors import EngineError
from edged.graph.prepare import PreparedModel
from edged.model import ModelSpec


class Evaluator:
    """Knows what FP32 finds in some images, and what is to be found.

    What it keeps grows with the images, but slowly: detections, the best classes, masks as PNG, a sample of raw
    tensors. Frames are decoded anew for every pass.

    Args:
        spec: the model spec.
        prepared: its prepared graph.
        images: what to evaluate on.
        reference: runs the FP32 form; used here once, and not kept.
        labels: of the images, in their order; those without are left out.
        options: how.
        tell: called after each batch of every pass.

    Raises:
        EngineError: an image changed since it was surveyed, or none is left.
    """

    def __init__(
        self,
        spec: ModelSpec,
        prepared: PreparedModel,
        images: Survey,
        reference: Run,
        *,
        labels: Labels | None = None,
        options: EvaluationOptions | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._spec, self._prepared, self._tell = spec, prepared, tell
        self._options = options or EvaluationOptions()
        self._labels = labels
        known = [True] * len(images.images) if labels is None else [truth is not None for truth in labels.truths]
        self.images: tuple[Image, ...] = tuple(one for one, there in zip(images.images, known, strict=True) if there)
        self._truths = None if labels is None else [truth for truth in labels.truths if truth is not None]
        self.notes = (*(f"{one} cannot be read" for one in images.unreadable), *(labels.notes if labels else ()))
        if not self.images:
            raise EngineError(
                "there are no images to evaluate on", where="evaluation", remedy="give --evaluate a folder"
            )
        self._set(list(self._pass(reference)))

    def loss(self, run: Run) -> Evaluation:
        """Evaluate a candidate.

        Args:
            run: the candidate's graph; it has the prepared graph's outputs.

        Raises:
            EngineError: an image changed since it was surveyed, or the labels hold nothing that counts.
        """
        return self._evaluation(self._meter.measure(self._pass(run), self._options.worst))

    def reference(self) -> Evaluation:
        """How good the FP32 form itself is; no pass."""
        return self._evaluation(self._meter.measure(iter(self._reference), 0))

    def picture(self, frame: WorstFrame, titles: tuple[str, str] = ("FP32", "INT8")) -> bytes:
        """Draw one of the worst frames: a PNG file, what FP32 sees to the left, what the candidate sees to the right.

        Raises:
            EngineError: the image changed since it was surveyed.
        """
        return side_by_side(load(self.images[frame.image]), frame.reference, frame.value, self._prepared.labels, titles)

    def pictures(self, frame: WorstFrame) -> tuple[bytes, bytes]:
        """The same as two PNG files without titles: what FP32 sees, what the candidate sees.

        Raises:
            EngineError: the image changed since it was surveyed.
        """
        image, names = load(self.images[frame.image]), self._prepared.labels
        return drawn(image, frame.reference, names), drawn(image, frame.value, names)

    @property
    def strong(self) -> float:
        """Score from which on a detection counts for the agreement: the spec's threshold, within reason."""
        return max(self._spec.output.score_threshold, WEAKEST_STRONG)

    def _set(self, reference: list[Finding]) -> None:
        """Take what FP32 finds."""
        self._reference = reference
        self._meter = self._make_meter(reference)
        self._weights = resamples(len(reference), self._options.draws, self._options.seed)
        self._resampled: tuple[Score, Floats] | None = None

    def _pass(self, run: Run) -> Any:
        """What a graph finds in each image, one after the other."""
        least = WEAK * self.strong if self._truths is None else min(self._options.score_threshold, WEAK * self.strong)
        reader = Reader(self._spec, self._prepared, self._options, least, len(self.images))
        fixed = self._prepared.fixed_batch
        batches = FrameBatches(self.images, self._spec.input, fixed or self._options.batch)
        return findings(run, batches, reader, fixed, self._tell)

    def _make_meter(self, reference: list[Finding]) -> meters.Meter[Any]:
        # The reader gives findings of the task's kind, the labels have been read for it.
        found, truths = cast("list[Any]", reference), cast("list[Any] | None", self._truths)
        task = self._spec.task
        if task == "detection":
            return DetectionMeter(found, self.strong, truths, self._labels.classes if self._labels else ())
        if task == "classification":
            return ClassificationMeter(found, truths)
        if task == "segmentation":
            return SegmentationMeter(found, self._prepared.classes, truths)
        return TensorMeter(found)

    def _evaluation(self, measured: meters.Measured) -> Evaluation:
        main, images = measured.main, len(self.images)
        if self._resampled is None or self._resampled[0] is not main.reference:
            self._resampled = main.reference, main.reference.points(self._weights)
        losses = self._resampled[1] - main.value.points(self._weights)
        whole_set = figure(main, np.ones((1, images)))
        if not np.isfinite(whole_set.loss):
            raise EngineError(
                f"the labels of these {images} images hold nothing that counts",
                where="evaluation",
                remedy="evaluate on more images, or correct the labels",
            )
        return Evaluation(
            kind="agreement" if self._truths is None else "labels",
            metric=measured.metric,
            value=whole_set.value,
            reference=whole_set.reference,
            error=spread(losses) if images > 1 else None,
            images=images,
            labels=measured.labels,
            figures={name: figure(both, np.ones((1, images))) for name, both in measured.figures.items()},
            per_class=self._per_class(main, measured.names or self._prepared.labels),
            per_folder=self._per_folder(main),
            score_shift=shift_of(measured.shifts),
            histograms=measured.histograms,
            difference=measured.difference,
            worst=tuple(self._worst(one) for one in measured.worst),
            notes=self.notes,
        )

    def _per_class(self, main: meters.Both, names: Sequence[str]) -> dict[str, Figure]:
        reference, value = main.reference.by_class(), main.value.by_class()
        return {
            names[number] if number < len(names) else str(number): Figure(
                reference=reference[number], value=value[number]
            )
            for number in reference
            if number in value
        }

    def _per_folder(self, main: meters.Both) -> dict[str, Figure]:
        groups = list(dict.fromkeys(image.group for image in self.images))
        if len(groups) < 2:
            return {}
        found = {}
        for group in groups:
            both = figure(main, np.array([[float(image.group == group) for image in self.images]]))
            if np.isfinite(both.loss):  # else its labels hold nothing
                found[group] = both
        return found

    def _worst(self, kept: meters.Kept) -> WorstFrame:
        least = self.strong
        return WorstFrame(
            image=kept.image,
            name=str(self.images[kept.image]),
            difference=kept.difference,
            reference=shown(self._reference[kept.image], least),
            value=shown(kept.finding, least),
        )


def names_of(prepared: PreparedModel) -> Names:
    """A model's classes, as labels are held against them."""
    return Names(prepared.labels, prepared.classes if prepared.classes is not None else len(prepared.labels) or None)


def figure(both: meters.Both, weights: Floats) -> Figure:
    """Both scores for one row of weights."""
    return Figure(reference=float(both.reference.points(weights)[0]), value=float(both.value.points(weights)[0]))


def shift_of(shifts: Floats) -> ScoreShift | None:
    """Differences of scores in a few numbers; None if there are none."""
    if not len(shifts):
        return None
    p5, p50, p95 = np.percentile(shifts, [5, 50, 95]).tolist()
    return ScoreShift(
        pairs=len(shifts), mean=float(shifts.mean()), absolute=float(np.abs(shifts).mean()), p5=p5, p50=p50, p95=p95
    )
