# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression per class, by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FAR = 1e6
"""Pixels: where a box ends for NMS, however large a broken model makes it. OpenCV sets classes apart by an offset of
the largest coordinate, so one box of 1e30 pixels would otherwise leave no precision to all the others."""


def suppress(rows: NDArray[np.float32], iou_threshold: float) -> NDArray[np.intp]:
    """Keep the best of the boxes of one class that overlap.

    Filter by score first: the cost grows with the square of the boxes (0.03 ms for 100, 3 ms for 1000).

    Args:
        rows: float32 [m, 6], x1, y1, x2, y2, score, class; finite, boxes with an area, score > 0, class a whole number
            from 0 to 2**24.
        iou_threshold: a box goes if its intersection over union with a kept one of its class is greater.

    Returns:
        Indices of the kept rows, best score first, equal scores in the order given.
    """
    if len(rows) < 2:
        return np.arange(len(rows))
    corners = np.clip(rows[:, :4], -FAR, FAR).astype(np.float64)
    # OpenCV's class offset only sets boxes apart that have no negative coordinates.
    corners -= corners.min()
    corners[:, 2:] -= corners[:, :2]
    # Lists on purpose: OpenCV converts them two to three times faster than float32 arrays.
    kept = cv2.dnn.NMSBoxesBatched(
        corners.tolist(), rows[:, 4].tolist(), rows[:, 5].astype(np.int32).tolist(), 0.0, iou_threshold
    )
    return np.asarray(kept, dtype=np.intp).reshape(-1)
