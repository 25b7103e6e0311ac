# SPDX-License-Identifier: Apache-2.0
"""Measures of segmentation: mean intersection over union with labels, else with FP32's masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Segmented
from edged.engine.evaluate.labels import MaskFile
from edged.engine.evaluate.masks import IGNORED, read_mask
from edged.engine.evaluate.meter import Both, Measured, Meter, Worst
from edged.engine.evaluate.scores import Overlaps, Perfect

MOST_CLASSES = 256

Mask = NDArray[np.uint8]


class SegmentationMeter(Meter[Segmented]):
    """See the module.

    With labels, both masks are held against the truth at the picture's own size: every pixel has the class of the cell
    of the published mask that it lies in. What the mask does not cover (cut away by center-crop) does not count.

    Args:
        reference: FP32's masks.
        classes: how many there are; None where that is not known.
        truths: mask of each image.
    """

    def __init__(
        self, reference: Sequence[Segmented], classes: int | None, truths: Sequence[MaskFile] | None = None
    ) -> None:
        super().__init__(reference)
        self._classes = MOST_CLASSES if classes is None else classes
        self._truths = truths
        self._known: Counts | None = None

    def measure(self, found: Iterable[Segmented], worst: int) -> Measured:
        """See `Meter.measure`."""
        if self._truths is not None and self._known is None:
            self._known = Counts(len(self.reference), self._classes)
            for image, ours in enumerate(self.reference):
                self._known.add(image, *self._truth(image, ours))
        agreed = Counts(len(self.reference), self._classes)
        counts = Counts(len(self.reference), self._classes)
        kept = Worst(worst)
        for image, (ours, theirs) in enumerate(zip(self.reference, found, strict=True)):
            first, second = ours.cells(), theirs.cells()
            agreed.add(image, first, second)
            kept.add(100 * float((first != second).mean()), image, theirs)
            if self._truths is not None:
                counts.add(image, *self._truth(image, theirs))
        same = Both(Perfect(agreed.score()), agreed.score())
        known = self._known
        return Measured(
            metric="agreement (mIoU)" if known is None else "mIoU",
            main=same if known is None else Both(known.score(), counts.score()),
            figures={} if known is None else {"agreement (mIoU)": same},
            labels=0 if known is None else int(known.truth.sum()),
            difference="percent of the mask that differs",
            worst=kept.frames(),
        )

    def _truth(self, image: int, mask: Segmented) -> tuple[Mask, Mask]:
        """An image's truth and a model's mask at the picture's size."""
        assert self._truths is not None
        truth = read_mask(self._truths[image])
        found, seen = at_source(mask.cells(), mask.box, truth.shape)
        return np.where(seen, truth, np.uint8(IGNORED)), found


class Counts:
    """Pixels of each class in truth, result and both, for each image.

    Args:
        images: how many.
        classes: how many; what else a result holds is wrong, what else the truth holds does not count.
    """

    def __init__(self, images: int, classes: int) -> None:
        self._classes = classes
        self.both = np.zeros((images, classes))
        self.truth = np.zeros((images, classes))
        self.found = np.zeros((images, classes))

    def add(self, image: int, truth: Mask, found: Mask) -> None:
        """Count an image; both masks uint8, of one shape."""
        counts = truth < min(self._classes, IGNORED)
        pairs = np.bincount(truth[counts].astype(np.int64) * MOST_CLASSES + found[counts], minlength=MOST_CLASSES**2)
        table = pairs.reshape(MOST_CLASSES, MOST_CLASSES)[: self._classes]
        self.truth[image] = table.sum(axis=1)
        self.found[image] = table.sum(axis=0)[: self._classes]
        self.both[image] = np.diagonal(table)[: self._classes]

    def score(self) -> Overlaps:
        """All together."""
        return Overlaps(self.both, self.truth, self.found)


def at_source(
    mask: Mask, box: tuple[float, float, float, float], size: Sequence[int]
) -> tuple[Mask, NDArray[np.bool_]]:
    """Bring a published mask to the size of its picture: every pixel has the class of the cell its centre lies in.

    Args:
        mask: uint8 [h, w].
        box: what it covers, x1, y1, x2, y2 in source pixels.
        size: height, width of the picture.

    Returns:
        Class numbers, uint8 [height, width], and where the mask says anything, bool of the same shape. A pixel that is
        beyond the box by less than a cell has the nearest cell's class: the box's ends are rounded to cells.
    """
    rows, seen_rows = _cells(size[0], box[1], box[3], mask.shape[0])
    columns, seen_columns = _cells(size[1], box[0], box[2], mask.shape[1])
    return mask[np.ix_(rows, columns)], seen_rows[:, np.newaxis] & seen_columns


def _cells(pixels: int, start: float, stop: float, cells: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The cell of each pixel along one axis, and whether there is one."""
    places = (np.arange(pixels) + 0.5 - start) * (cells / (stop - start))
    return np.clip(np.floor(places), 0, cells - 1).astype(np.intp), (places > -1) & (places < cells + 1)
