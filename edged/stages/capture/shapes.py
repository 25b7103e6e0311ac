# SPDX-License-Identifier: Apache-2.0
"""A scene of moving shapes with ground truth: the source `synthetic://shapes`.

Every frame is a closed-form function of (seed, width, height, fps, index), so any frame can be rendered on its own, in
any order. Scene parameters come from a generator whose stream is frozen (`numpy.random.RandomState`), the background is
integer arithmetic, and shapes are drawn by OpenCV's fixed-point polygon filler from coordinates rounded to 1/256 pixel:
nothing depends on the platform's floating-point unit or vector instructions.

Coordinates are pixels with the origin at the outer corner of the top-left pixel: a box that covers exactly the first
pixel is (0, 0, 1, 1). Shapes never leave the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LABELS = ("circle", "square", "triangle")
MIN_VISIBLE = 0.4
"""A shape of which others hide more than 1 - MIN_VISIBLE of its area is not in the truth."""
MIN_SIDE = 32
"""Smallest width and height of a frame, in pixels: below it the smallest shapes are no shapes any more."""

_SHIFT = 8  # fractional bits of the coordinates given to OpenCV
_CORNERS = (64, 4, 3)  # of a circle, square, triangle
_APOTHEM = (1.0, math.cos(math.pi / 4), 0.5)  # distance of the sides from the centre, for corners at distance 1
_BLEED = 0.65  # pixels by which OpenCV's anti-aliased filling outgrows the polygon: measured as area over perimeter
_NOISE = 11  # grey levels of noise, 0 … 10
_NOISE_SHIFTS = 4096  # distinct noise patterns, all windows of one buffer
_BRIGHTEST = 255 - _NOISE + 1  # colours stay below, so that adding noise never saturates
_GRID = (7, 9)  # rows and columns of the coarse grid behind the background's clouds
_MAP_SIDE = 320  # longest side of the map on which hidden area is counted

# Blue, green, red.
_PALETTE = (
    (72, 92, 238),
    (58, 160, 242),
    (70, 212, 240),
    (110, 204, 120),
    (200, 196, 84),
    (236, 148, 74),
    (214, 106, 168),
    (176, 128, 240),
    (226, 228, 232),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of a frame as ground truth: its box holds the whole shape, hidden parts included.

    `class_id` is the index of `label` in `LABELS`; `box` is x1, y1, x2, y2 in pixels of the frame.
    """

    label: str
    class_id: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Body:
    """What a shape keeps from frame to frame. Lengths in pixels, speeds per second, angles in radians."""

    class_id: int
    radius: float
    start: tuple[float, float]
    speed: tuple[float, float]
    angle: float
    spin: float
    fill: tuple[int, int, int]
    edge: tuple[int, int, int]
    edge_width: float


class ShapesScene:
    """3 to 7 coloured shapes that turn and bounce, now and then over one another, on a clouded gradient."""

    def __init__(self, seed: int = 0, width: int = 640, height: int = 480, fps: float = 30.0) -> None:
        """Prepare a scene: `seed` 0 … 2³² - 1, `width` and `height` in pixels, `fps` in frames per second."""
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be 0 to {2**32 - 1}, not {seed}")
        if min(width, height) < MIN_SIDE:
            raise ValueError(f"size must be at least {MIN_SIDE}x{MIN_SIDE}, not {width}x{height}")
        if not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps must be above 0, not {fps}")
        self.seed, self.width, self.height, self.fps = seed, width, height, float(fps)
        # One generator for what moves, one for the picture: the motion does not depend on how many pixels there are.
        self._bodies = _bodies(np.random.RandomState(seed), width, height)
        picture = np.random.RandomState(seed ^ 0x5EED)
        self._background = _background(picture, width, height)
        self._noise: NDArray[np.uint8] = picture.randint(
            0, _NOISE, size=3 * (width * height + _NOISE_SHIFTS), dtype=np.uint8
        )

    def render(self, index: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Frame `index` (≥ 0) as uint8 height x width x 3, blue-green-red; written into `out` and returned if given."""
        shape = (self.height, self.width, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out must be uint8 {shape}, not {out.dtype} {out.shape}")
        np.copyto(out, self._background)
        for body in self._bodies:
            center, angle = self._pose(body, index)
            for inset, color in ((_BLEED, body.edge), (_BLEED + body.edge_width, body.fill)):
                polygon = _polygon(body.class_id, center, body.radius - inset / _APOTHEM[body.class_id], angle)
                cv2.fillConvexPoly(out, _fixed(polygon), color, cv2.LINE_AA, _SHIFT)
        # 1663 is coprime to the number of shifts: neighbouring frames get windows far apart, and all windows are used.
        first = 3 * (index * 1663 % _NOISE_SHIFTS)
        noise = self._noise[first : first + out.size].reshape(shape)
        cv2.add(out, noise, dst=out)
        return out

    def truth(self, index: int) -> list[Shape]:
        """The shapes of frame `index` (≥ 0), back to front, without those hidden by more than 1 - `MIN_VISIBLE`."""
        polygons = [_polygon(body.class_id, *self._outline(body, index)) for body in self._bodies]
        visible = _visible_fractions(polygons, self.width, self.height)
        return [
            Shape(LABELS[body.class_id], body.class_id, _box(polygon))
            for body, polygon, fraction in zip(self._bodies, polygons, visible, strict=True)
            if fraction >= MIN_VISIBLE
        ]

    def _outline(self, body: _Body, index: int) -> tuple[tuple[float, float], float, float]:
        center, angle = self._pose(body, index)
        return center, body.radius, angle

    def _pose(self, body: _Body, index: int) -> tuple[tuple[float, float], float]:
        """Center in pixels and angle in radians at frame `index`."""
        if index < 0:
            raise ValueError(f"index must be 0 or more, not {index}")
        time = index / self.fps
        margin = body.radius + 1.0
        x = _bounce(body.start[0] + body.speed[0] * time, margin, self.width - margin)
        y = _bounce(body.start[1] + body.speed[1] * time, margin, self.height - margin)
        return (x, y), math.fmod(body.angle + body.spin * time, 2 * math.pi)


def _bounce(position: float, low: float, high: float) -> float:
    """`position` folded into [low, high], as a ball between two walls."""
    span = high - low
    offset = math.fmod(position - low, 2 * span)
    offset += 2 * span if offset < 0 else 0.0
    return low + (offset if offset <= span else 2 * span - offset)


def _polygon(class_id: int, center: tuple[float, float], radius: float, angle: float) -> list[tuple[float, float]]:
    """Corners of a shape, in pixels, on the circle of `radius` around `center`."""
    corners = _CORNERS[class_id]
    step = 2 * math.pi / corners
    return [
        (center[0] + radius * math.cos(angle + step * k), center[1] + radius * math.sin(angle + step * k))
        for k in range(corners)
    ]


def _fixed(polygon: list[tuple[float, float]], scale: float = 1.0) -> NDArray[np.int32]:
    """The polygon in OpenCV's fixed point, whose integers are pixel centres (ours are pixel corners)."""
    unit = 1 << _SHIFT
    return np.array([[round((v * scale - 0.5) * unit) for v in corner] for corner in polygon], np.int32)


def _box(polygon: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*polygon, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _visible_fractions(polygons: list[list[tuple[float, float]]], width: int, height: int) -> list[float]:
    """For each polygon, back to front, the part of its area that no later one covers: 0 … 1."""
    scale = min(1.0, _MAP_SIDE / max(width, height))
    owner = np.zeros((math.ceil(height * scale), math.ceil(width * scale)), np.uint8)
    areas: list[int] = []
    for number, polygon in enumerate(polygons, 1):
        cv2.fillConvexPoly(owner, _fixed(polygon, scale), (number,), cv2.LINE_8, _SHIFT)
        areas.append(int(np.count_nonzero(owner == number)))
    return [int(np.count_nonzero(owner == number)) / max(area, 1) for number, area in enumerate(areas, 1)]


def _bodies(rng: np.random.RandomState, width: int, height: int) -> list[_Body]:
    """The scene's shapes, back to front: large ones behind, so that small ones pass over them."""
    count = int(rng.randint(3, 8))
    # The first three are one of each class; colours are dealt from a shuffled palette, so that no two are alike.
    kinds = [0, 1, 2, *(int(kind) for kind in rng.randint(0, 3, size=count - 3))]
    colors = rng.permutation(len(_PALETTE))
    bodies = [_body(rng, kind, _PALETTE[color], width, height) for kind, color in zip(kinds, colors, strict=False)]
    return sorted(bodies, key=lambda body: -body.radius)


def _body(rng: np.random.RandomState, class_id: int, color: tuple[int, int, int], width: int, height: int) -> _Body:
    side = min(width, height)
    # Corners lie farther out than a circle of the same area.
    radius = side * (0.06 + 0.10 * rng.random_sample()) * (1.0, 1.2, 1.35)[class_id]
    jitter = rng.randint(-14, 15, size=3)
    fill = [min(max(channel + int(shift), 0), _BRIGHTEST - 1) for channel, shift in zip(color, jitter, strict=True)]
    heading, pace = 2 * math.pi * rng.random_sample(), side * (0.10 + 0.35 * rng.random_sample())
    spin = (0.2 + 1.0 * rng.random_sample()) * (1 if rng.randint(2) else -1)
    edge = [channel * 5 // 8 for channel in fill]
    return _Body(
        class_id=class_id,
        radius=radius,
        start=(width * rng.random_sample(), height * rng.random_sample()),
        speed=(pace * math.cos(heading), pace * math.sin(heading)),
        angle=2 * math.pi * rng.random_sample(),
        spin=spin,
        fill=(fill[0], fill[1], fill[2]),
        edge=(edge[0], edge[1], edge[2]),
        edge_width=max(0.8, 0.06 * radius),
    )


def _background(rng: np.random.RandomState, width: int, height: int) -> NDArray[np.uint8]:
    """A muted gradient under soft clouds and faint diagonal stripes: uint8 height x width x 3, all in integers."""
    rows = np.arange(height, dtype=np.int32)[:, None, None]
    columns = np.arange(width, dtype=np.int32)[None, :, None]
    first, last = rng.randint(24, 96, size=(2, 3)).astype(np.int32)
    along = (rows * 256 // height + columns * 256 // width) // 2
    gradient = (first * (256 - along) + last * along) // 256
    clouds = _upsample(rng.randint(0, 256, size=_GRID).astype(np.int32), width, height)[:, :, None]
    period = max(8, min(width, height) // 16)
    stripes = ((columns + rows) % period < period // 2).astype(np.int32) * 4
    total: NDArray[np.int32] = np.clip(gradient + clouds * 40 // 256 + stripes, 0, _BRIGHTEST - 1)
    return total.astype(np.uint8)


def _upsample(grid: NDArray[np.int32], width: int, height: int) -> NDArray[np.int32]:
    """`grid` (rows x columns, 0 … 255) stretched to height x width, bilinear in integers."""
    for axis, size in ((0, height), (1, width)):
        cells = grid.shape[axis] - 1
        position = np.arange(size, dtype=np.int32) * cells * 256 // size
        cell, weight = position >> 8, position & 255
        weight = weight[:, None] if axis == 0 else weight[None, :]
        grid = (np.take(grid, cell, axis) * (256 - weight) + np.take(grid, cell + 1, axis) * weight) >> 8
    return grid
