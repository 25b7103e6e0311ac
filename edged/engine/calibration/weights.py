# SPDX-License-Identifier: Apache-2.0
"""Several folders of images in one calibration: each counts the same, however many images it holds.

Ranges need no weights for that: histograms are made for each folder by itself, and a threshold is the largest that a
folder asks for (`edged.engine.int8.calibrate.Calibration`). Weights are for all that is averaged over images.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 16.0
"""Weight of the heaviest image, in those of the lightest."""


def image_weights(sizes: Sequence[int], most: float = MOST) -> tuple[float, ...]:
    """Weight of an image of each folder; over all images they sum up to the number of images.

    Of n images in F folders, each image of a folder of m weighs n / F / m: a hundred pictures of the rare case count as
    much as a thousand of the usual one. But no image weighs more than ``most`` times as much as any other, so that a
    folder of three does not decide everything; such a folder counts for less than the others then.

    Args:
        sizes: images of each folder, 1 or more.
        most: weight of the heaviest image, in those of the lightest.
    """
    if not sizes:
        return ()
    # 1 / m, in units of the lightest image's.
    raw = [min(max(sizes) / size, most) for size in sizes]
    scale = sum(sizes) / sum(weight * size for weight, size in zip(raw, sizes, strict=True))
    return tuple(weight * scale for weight in raw)
