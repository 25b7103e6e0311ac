# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says: plain values, for the manifest and the report."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["labels", "agreement"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of the model and of its FP32 form, in points from 0 to 100."""

    reference: float
    value: float

    @property
    def loss(self) -> float:
        """Points lost; negative where the model is better than its FP32 form."""
        return self.reference - self.value


class ScoreShift(msgspec.Struct, frozen=True, kw_only=True):
    """How scores of the same findings differ, model minus FP32; each is a score from -1 to 1.

    Attributes:
        pairs: how many findings were compared.
        mean: of the differences.
        absolute: mean of their absolute values.
        p5: 5th percentile.
        p50: median.
        p95: 95th percentile.
    """

    pairs: int
    mean: float
    absolute: float
    p5: float
    p50: float
    p95: float


class Histograms(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of scores in equal bins from 0 to 1."""

    reference: tuple[int, ...]
    value: tuple[int, ...]


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A detection: class number, score, and x1, y1, x2, y2 in source pixels."""

    class_id: int
    score: float
    box: tuple[float, float, float, float]


class FrameResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the two saw in a frame.

    Attributes:
        boxes: best first.
        classes: class numbers and scores, best first.
        mask: PNG of class numbers, 8 bits.
        mask_box: the part of the picture that the mask covers, x1, y1, x2, y2 in source pixels.
    """

    boxes: tuple[Box, ...] = ()
    classes: tuple[tuple[int, float], ...] = ()
    mask: bytes | None = None
    mask_box: tuple[float, float, float, float] | None = None


class WorstFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame on which model and FP32 differ much.

    Attributes:
        image: position among the evaluated images.
        name: ``folder/file``.
        difference: how much, in what `Evaluation.difference` names.
        reference: what FP32 saw.
        value: what the model saw.
    """

    image: int
    name: str
    difference: float
    reference: FrameResult
    value: FrameResult


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How a model compares with its FP32 form. All figures are points from 0 to 100.

    Attributes:
        kind: ``labels``: both were held against the truth. ``agreement``: there is none; the model was held against
            FP32, which by definition has 100 points.
        metric: what the points are.
        value: of the model.
        reference: of its FP32 form.
        error: standard error of the loss, by a paired bootstrap over the images; None for a single image.
        images: how many were evaluated.
        labels: how many boxes, classes or pixels the truth holds for them; 0 without.
        figures: further measures by name, with labels also the agreement with FP32.
        per_class: the metric by class name; where it has none, by tensor.
        per_folder: the metric by folder of images, where there are several.
        score_shift: of the same findings; None where the task has no scores, or nothing was found.
        histograms: of all scores; None where the task has none.
        difference: what `WorstFrame.difference` counts.
        worst: frames with the largest difference, worst first; those without one are left out.
        notes: what the user should know, a sentence each.
    """

    kind: Kind
    metric: str
    value: float
    reference: float
    error: float | None
    images: int
    labels: int
    figures: dict[str, Figure]
    per_class: dict[str, Figure]
    per_folder: dict[str, Figure] = {}
    score_shift: ScoreShift | None = None
    histograms: Histograms | None = None
    difference: str = ""
    worst: tuple[WorstFrame, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """Points lost against FP32, to be held against the bound; negative where the model is better."""
        return self.reference - self.value

    def __str__(self) -> str:
        """One line: ``AP 33.6 against 34.2 of FP32: 0.6 ± 0.4 points lost on 79 images with 624 labels``."""
        spread = "" if self.error is None else f" ± {self.error:.1f}"
        labels = f" with {self.labels} labels" if self.kind == "labels" else ", no labels: agreement with FP32"
        return (
            f"{self.metric} {self.value:.1f} against {self.reference:.1f} of FP32: {self.loss:.1f}{spread} points lost "
            f"on {self.images} images{labels}"
        )

    def without_pictures(self) -> Evaluation:
        """The same without what was seen in the worst frames: small enough for a manifest."""
        blank = FrameResult()
        return msgspec.structs.replace(
            self,
            worst=tuple(msgspec.structs.replace(one, reference=blank, value=blank) for one in self.worst),
        )
