# SPDX-License-Identifier: Apache-2.0
"""Comparing two outputs of the prepared graph for one frame, as far as they would be published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import UnsetType
from numpy.typing import NDArray

from edged import agreement
from edged.agreement import Agreement
from edged.geometry import Region, Size
from edged.messages import ClassScore, Detection
from edged.records import FrameRecord

Outputs = Mapping[str, NDArray[Any]]
Task = Literal["classification", "detection", "segmentation", "raw"]


class Result(Protocol):
    """What postprocess makes of a frame, as far as it is compared."""

    @property
    def detections(self) -> list[Detection] | UnsetType: ...  # noqa: D102

    @property
    def classes(self) -> list[ClassScore] | UnsetType: ...  # noqa: D102


class Comparer:
    """Compares by what the task makes of the outputs: objects, the best class, labels, or the numbers themselves.

    Args:
        task: of the model.
        postprocess: outputs of a batch, place in it, frame → result: the same as publish's.
        covered: height and width of a mask, frame → the part of the mask that shows the picture, x1, y1, x2, y2.
    """

    def __init__(
        self,
        task: Task,
        postprocess: Callable[[Outputs, int, FrameRecord], Result],
        covered: Callable[[Size, FrameRecord], Region],
    ) -> None:
        self._task = task
        self._postprocess = postprocess
        self._covered = covered

    def compare(self, ours: Outputs, reference: Outputs, frame: FrameRecord) -> Agreement:
        """How far two outputs agree.

        Args:
            ours: of the engine that runs, by name; batches of one.
            reference: of the reference, likewise.
            frame: that both were inferred from.

        Raises:
            InternalError: outputs that are missing or of another form.
        """
        if self._task == "raw":
            return agreement.tensors(_first(ours), _first(reference))
        if self._task == "segmentation":
            return agreement.labels(self._labels(ours, frame), self._labels(reference, frame))
        found, wanted = self._postprocess(ours, 0, frame), self._postprocess(reference, 0, frame)
        if self._task == "detection":
            return agreement.detections(_boxes(found), _boxes(wanted))
        return agreement.top1(_classes(found), _classes(wanted))

    def _labels(self, outputs: Outputs, frame: FrameRecord) -> NDArray[Any]:
        # The mask as it comes: publish's result holds it as a PNG. Padding would agree by itself.
        mask = outputs["mask"][0]
        x1, y1, x2, y2 = self._covered((mask.shape[0], mask.shape[1]), frame)
        part: NDArray[Any] = mask[y1:y2, x1:x2]
        return part


def _first(outputs: Outputs) -> dict[str, NDArray[Any]]:
    return {name: batch[0] for name, batch in outputs.items()}


def _boxes(result: Result) -> NDArray[np.float64]:
    found = [] if isinstance(result.detections, UnsetType) else result.detections
    return np.array([(*each.box, each.score, each.class_id) for each in found], np.float64).reshape(-1, 6)


def _classes(result: Result) -> NDArray[np.float64]:
    found = [] if isinstance(result.classes, UnsetType) else result.classes
    return np.array([(each.score, each.class_id) for each in found], np.float64).reshape(-1, 2)
