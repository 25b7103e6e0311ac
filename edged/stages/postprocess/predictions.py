# SPDX-License-Identifier: Apache-2.0
"""From one frame's part of the prepared graph's outputs to what is published of it.

Numbers are rounded to what they mean, which keeps the JSON short: boxes to 0.01 pixel, scores to 0.00001. What a broken
model returns (NaN, infinite, no class) is left out, so a message never holds a number that JSON doesn't have.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.geometry import Placement, place, to_source
from edged.messages import ClassScore, Detection, Mask, Tensor
from edged.records import FrameRecord
from edged.stages.postprocess.mask import covered_box, covered_cells, encode_png
from edged.stages.postprocess.nms import suppress
from edged.stages.postprocess.plan import PostprocessPlan

Outputs = Mapping[str, NDArray[Any]]

BOX_DECIMALS = 2
SCORE_DECIMALS = 5
CLASS_LIMIT = 1 << 24
"""Class numbers travel as float32, which holds whole numbers up to here."""
PLACEMENTS_KEPT = 64
"""Sizes of sources and inputs are few; the bound is against a source whose size changes with every frame."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a model saw in one frame: the fields of `messages.Prediction` of the same names, and the blobs they count.

    Attributes:
        detections: best first.
        classes: best first.
        mask: its PNG is in ``blobs``.
        tensors: in the order of the outputs; their bytes are in ``blobs``.
        blobs: what follows the JSON in the message.
    """

    detections: list[Detection] | UnsetType = UNSET
    classes: list[ClassScore] | UnsetType = UNSET
    mask: Mask | UnsetType = UNSET
    tensors: list[Tensor] | UnsetType = UNSET
    blobs: list[bytes] = field(default_factory=list)


class Postprocessor:
    """Reads the outputs of a model.

    Args:
        plan: how to read them.
    """

    def __init__(self, plan: PostprocessPlan) -> None:
        self._plan = plan
        self._place = functools.lru_cache(PLACEMENTS_KEPT)(functools.partial(place, plan.resize, plan.align))

    def run(self, outputs: Outputs, index: int, frame: FrameRecord) -> Result:
        """Read one frame's part of a batch's outputs.

        Args:
            outputs: the prepared graph's outputs by name, batches of n frames. Detection: ``detections``, float32
                [n, k, 6] (x1, y1, x2, y2 in input pixels, score, class). Classification: ``classes``, float32 [n, k, 2]
                (score, class). Segmentation: ``mask``, uint8 [n, h, w]. Raw: anything, [n, …].
            index: the frame's place in the batch.
            frame: its record.

        Returns:
            What to publish. It holds nothing of ``outputs``, whose memory may be used again.
            Classes below the score threshold are left out, so the list may be empty, as with detections.

        Raises:
            InternalError: an output that is not there or of another form.
        """
        task = self._plan.task
        if task == "raw":
            return self._raw(outputs, index)
        if task == "classification":
            return self._classification(outputs, index)
        placement = self._place((frame.height, frame.width), (frame.input_height, frame.input_width), frame.view)
        if task == "segmentation":
            return self._segmentation(outputs, index, placement)
        return self._detection(outputs, index, placement)

    def _detection(self, outputs: Outputs, index: int, placement: Placement) -> Result:
        plan = self._plan
        rows = _usable(_rows(outputs, "detections", 6, index), 4, plan.score_threshold)
        # End-to-end graphs fill up their last rows with zeros: no finding even at a threshold of 0.
        rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1]) & (rows[:, 4] > 0)]
        if not len(rows):
            return Result(detections=[])
        rows = rows[suppress(rows, plan.iou_threshold) if plan.nms else _best_first(rows[:, 4])]
        boxes = np.round(to_source(rows[:, :4], placement).astype(np.float64), BOX_DECIMALS)
        # A box in the padding is no object of the picture.
        kept = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))[: plan.max_detections]
        scores, numbers = _scores_and_classes(rows[kept, 4:])
        corners = zip(*boxes[kept].T.tolist(), strict=True)
        return Result(
            detections=[
                Detection(label=self._label(number), class_id=number, score=score, box=box)
                for number, score, box in zip(numbers, scores, corners, strict=True)
            ]
        )

    def _classification(self, outputs: Outputs, index: int) -> Result:
        rows = _usable(_rows(outputs, "classes", 2, index), 0, self._plan.score_threshold)
        scores, numbers = _scores_and_classes(rows[_best_first(rows[:, 0])])
        return Result(
            classes=[
                ClassScore(label=self._label(number), class_id=number, score=score)
                for number, score in zip(numbers, scores, strict=True)
            ]
        )

    def _segmentation(self, outputs: Outputs, index: int, placement: Placement) -> Result:
        batch = _output(outputs, "mask")
        if batch.ndim != 3 or batch.dtype != np.uint8:
            raise _unreadable("mask", "uint8 [n, h, w]", batch)
        grid = (batch.shape[1], batch.shape[2])
        cells = covered_cells(grid, placement)
        x1, y1, x2, y2 = cells
        # Turned back: a mask lies over the source's picture, as boxes do.
        part = np.rot90(batch[index, y1:y2, x1:x2], placement.view.turns)
        mask = Mask(
            blob=0,
            shape=(part.shape[0], part.shape[1]),
            dtype="uint8",
            encoding="png",
            box=covered_box(cells, grid, placement),
        )
        return Result(mask=mask, blobs=[encode_png(np.ascontiguousarray(part))])

    def _raw(self, outputs: Outputs, index: int) -> Result:
        tensors, blobs = [], []
        for blob, (name, batch) in enumerate(outputs.items()):
            part = np.asarray(batch[index])
            tensors.append(Tensor(name=name, blob=blob, shape=list(part.shape), dtype=part.dtype.name))
            blobs.append(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())
        return Result(tensors=tensors, blobs=blobs)

    def _label(self, number: int) -> str:
        labels = self._plan.labels
        return labels[number] if number < len(labels) else str(number)


def _output(outputs: Outputs, name: str) -> NDArray[Any]:
    """One output of the prepared graph."""
    if name not in outputs:
        raise InternalError(f"the model's outputs hold no {name!r}, only {sorted(outputs)}", where="postprocess")
    return outputs[name]


def _rows(outputs: Outputs, name: str, columns: int, index: int) -> NDArray[np.float32]:
    """One frame's rows of an output of the form [n, k, columns]."""
    batch = _output(outputs, name)
    if batch.ndim != 3 or batch.shape[2] != columns:
        raise _unreadable(name, f"[n, k, {columns}]", batch)
    rows: NDArray[np.float32] = batch[index]
    return rows


def _unreadable(name: str, wanted: str, found: NDArray[Any]) -> InternalError:
    return InternalError(
        f"output {name!r} should be {wanted} but is {found.dtype.name} {list(found.shape)}", where="postprocess"
    )


def _usable(rows: NDArray[np.float32], column: int, threshold: float) -> NDArray[np.float32]:
    """Rows that are finite, whose score (in the given column) is enough and whose class (in the last) is one."""
    scores = rows[:, column]
    # float32 like the scores: 0.3 of a model is not to fall short of the settings' 0.3 by its rounding.
    rows = rows[scores >= np.float32(threshold)]
    if not len(rows):
        return rows
    numbers = rows[:, -1]
    return rows[np.isfinite(rows).all(axis=1) & (numbers >= 0) & (numbers < CLASS_LIMIT)]


def _best_first(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Order by score, equal ones as they come."""
    return np.argsort(-scores, kind="stable")


def _scores_and_classes(pairs: NDArray[np.float32]) -> tuple[list[float], list[int]]:
    """Rounded scores and class numbers of float32 [m, 2] (score, class)."""
    scores: list[float] = np.round(pairs[:, 0].astype(np.float64), SCORE_DECIMALS).tolist()
    numbers: list[int] = pairs[:, 1].astype(np.int64).tolist()
    return scores, numbers
