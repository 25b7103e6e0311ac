# SPDX-License-Identifier: Apache-2.0
"""The input sizes that a prepared graph may meet."""

from __future__ import annotations

from edged.model import DynamicSize, InputSpec

HeightWidth = tuple[int, int]


def size_bounds(spec: InputSpec) -> tuple[HeightWidth, HeightWidth]:
    """Smallest and largest height, width of an input in pixels: multiples of what the spec asks for."""
    size = spec.size
    if not isinstance(size, DynamicSize):
        return (size[0], size[1]), (size[0], size[1])
    step = size.multiple
    lowest = [-(-length // step) * step for length in size.min]
    highest = [length // step * step for length in size.max]
    return (lowest[0], lowest[1]), (highest[0], highest[1])
