# SPDX-License-Identifier: Apache-2.0
"""Scenes to segment: shapes of four colours over one another on muted, textured ground. Needs numpy and OpenCV only.

A class is a colour and a shape; class 0 is the ground. Shapes differ in size, shade and pattern, which say nothing of
their class. Scene s of a size is always the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.models.folders import Pixels

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {"red": (52, 48, 205), "green": (62, 168, 52), "blue": (200, 92, 40), "yellow": (44, 200, 222)}
"""Blue, green, red."""
LABELS = ("background", *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))
_RADII = (26.0, 80.0)  # pixels
_AREA = 24_000  # pixels of ground for each shape
_SHIFT = 6  # fractional bits of the coordinates given to OpenCV
_MUTED = 28  # how far the ground's colours are from grey, grey levels


def scene(seed: int, side: int) -> tuple[Pixels, Pixels]:
    """Draw a scene.

    Args:
        seed: which.
        side: width and height, pixels. Shapes are of one size in pixels whatever the side is: a small scene looks like
            a part of a large one.

    Returns:
        The picture, uint8 [side, side, 3] blue-green-red, and the class of each pixel, uint8 [side, side].
    """
    rng = np.random.RandomState([seed, side])
    image = _ground(rng, side)
    mask: Pixels = np.zeros((side, side), np.uint8)
    count = max(2, round(side * side / _AREA * rng.uniform(0.7, 1.3)))
    for radius in sorted(rng.uniform(*_RADII, size=count), reverse=True):
        _draw(rng, image, mask, radius)
    light = rng.uniform(0.75, 1.1) * (1 + 0.15 * rng.uniform(-1, 1) * np.linspace(-1, 1, side, dtype=np.float32))
    image *= light.astype(np.float32)[:, None, None]
    image += rng.randint(-6, 7, size=image.shape, dtype=np.int8)
    picture: Pixels = np.clip(image, 0, 255).astype(np.uint8)
    return picture, mask


def outline(shape: str, angle: float) -> NDArray[np.float64]:
    """Corners of a shape around 0, 0, none farther away than 1: float64 [corners, 2]."""
    if shape == "cross":
        arm = 0.36
        quarter = np.array([(1, -arm), (1, arm), (arm, arm)]) / math.hypot(1, arm)
        turns = [np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
        corners = np.concatenate([quarter @ turn for turn in turns])
    else:
        number = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[shape]
        steps = 2 * math.pi * np.arange(number) / number
        reach = np.where(np.arange(number) % 2, 0.42, 1.0) if shape == "star" else np.ones(number)
        corners = reach[:, None] * np.column_stack([np.cos(steps), np.sin(steps)])
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = corners @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _draw(rng: np.random.RandomState, image: NDArray[np.float32], mask: Pixels, radius: float) -> None:
    """Add one shape at a random place, which may lie partly outside."""
    colour, shape = int(rng.randint(len(COLOURS))), int(rng.randint(len(SHAPES)))
    middle = rng.uniform(0, len(mask), size=2)
    corners = outline(SHAPES[shape], rng.uniform(0, 2 * math.pi)) * radius + middle
    base = np.array(list(COLOURS.values())[colour]) + rng.uniform(-22, 22, size=3)
    pattern = _pattern(rng)
    # Only the part around the shape is looked at: most shapes are small.
    left, top = (max(0, math.floor(low)) for low in corners.min(axis=0))
    right, bottom = (min(len(mask), math.ceil(high) + 1) for high in corners.max(axis=0))
    inside = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(inside, [np.rint((corners - (left, top)) * (1 << _SHIFT)).astype(np.int32)], (1,), cv2.LINE_8, _SHIFT)
    covered = inside.astype(bool)
    mask[top:bottom, left:right][covered] = 1 + colour * len(SHAPES) + shape
    shade = pattern(*inside.shape)[covered]
    image[top:bottom, left:right][covered] = base * (1 - shade[:, None])


def _pattern(rng: np.random.RandomState) -> Callable[[int, int], NDArray[np.float32]]:
    """Plain, stripes, or dots: for a height and width, how much darker each pixel gets, 0 to 0.3."""
    kind, depth, period = int(rng.randint(3)), rng.uniform(0.12, 0.3), rng.uniform(9, 22)
    angle = rng.uniform(0, math.pi)
    cos, sin = (np.float32(value * 2 * math.pi / period) for value in (math.cos(angle), math.sin(angle)))

    def draw(height: int, width: int) -> NDArray[np.float32]:
        if kind == 0:
            return np.zeros((height, width), np.float32)
        x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
        wave = np.sin(x * cos + y * sin)
        dark = wave > 0 if kind == 1 else wave + np.sin(y * cos - x * sin) > 0.7
        darker: NDArray[np.float32] = dark.astype(np.float32) * np.float32(depth)
        return darker

    return draw


def _ground(rng: np.random.RandomState, side: int) -> NDArray[np.float32]:
    """Clouds of two sizes and a pattern in muted colours: float32 [side, side, 3], 0 to 255."""
    cells = max(3, side // 64)
    large = rng.uniform(-1, 1, size=(cells, cells, 1)) * 45 + rng.uniform(-1, 1, size=(cells, cells, 3)) * _MUTED / 2
    small = rng.uniform(-22, 22, size=(side // 6, side // 6))
    tint = rng.uniform(-_MUTED / 2, _MUTED / 2, size=3) + rng.uniform(70, 185)
    ground: NDArray[np.float32] = np.empty((side, side, 3), np.float32)
    cv2.resize(large.astype(np.float32), (side, side), dst=ground, interpolation=cv2.INTER_CUBIC)
    ground += cv2.resize(small.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
    ground += tint.astype(np.float32) * (1 - _pattern(rng)(side, side)[..., None])
    return ground
