# SPDX-License-Identifier: Apache-2.0
"""The synthetic scene: a pure function of its arguments, and a truth that agrees with the pixels."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.stages.capture.shapes import LABELS, MIN_SIDE, MIN_VISIBLE, Shape, ShapesScene

SIZES = [(640, 480), (480, 270), (240, 320), (33, 47)]


def digest(frame: NDArray[np.uint8]) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()


def extent(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest box around the set pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def only(scene: ShapesScene, *numbers: int) -> ShapesScene:
    """A scene of the same background and noise with some of the shapes only."""
    part = ShapesScene(scene.seed, scene.width, scene.height, scene.fps)
    part._bodies = [scene._bodies[number] for number in numbers]
    return part


def test_frames_depend_on_the_arguments_alone() -> None:
    order = [0, 1, 2, 17, 1000, 123_456]
    forward = {index: digest(ShapesScene(3).render(index)) for index in order}
    scene = ShapesScene(3)
    assert {index: digest(scene.render(index)) for index in reversed(order)} == forward
    assert len(set(forward.values())) == len(order)
    assert [scene.truth(index) for index in order] == [ShapesScene(3).truth(index) for index in order]


def test_time_counts_not_frames() -> None:
    slow, fast = ShapesScene(1, 320, 240, 15), ShapesScene(1, 320, 240, 30)
    assert slow.truth(20) == fast.truth(40)
    assert slow.truth(20) != fast.truth(20)


def test_seeds_and_sizes_differ() -> None:
    assert len({digest(ShapesScene(seed, 320, 240).render(0)) for seed in range(10)}) == 10
    assert len({tuple(ShapesScene(seed, 320, 240).truth(0)) for seed in range(10)}) == 10
    for width, height in SIZES:
        assert ShapesScene(0, width, height).render(0).shape == (height, width, 3)


def test_renders_into_the_array_given() -> None:
    scene = ShapesScene(5, 320, 240)
    expected = scene.render(9)
    out = np.full((240, 320, 3), 7, np.uint8)
    assert scene.render(9, out) is out
    assert np.array_equal(out, expected)
    # A window of a larger array, as a letterboxed frame in a ring is: rows lie apart, and nothing outside is touched.
    canvas = np.full((250, 340, 3), 7, np.uint8)
    scene.render(9, canvas[5:245, 10:330])
    assert np.array_equal(canvas[5:245, 10:330], expected)
    canvas[5:245, 10:330] = 7
    assert (canvas == 7).all()


def test_frames_given_out_are_not_shared() -> None:
    scene = ShapesScene(5, 64, 64)
    first = scene.render(0)
    kept = first.copy()
    scene.render(1)[:] = 0
    assert np.array_equal(first, kept)
    assert np.array_equal(scene.render(0), kept)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_tight(size: tuple[int, int]) -> None:
    # Anti-aliasing paints a fringe around the exact outline; the sharp tips of a triangle fade away before it.
    middles = []
    for seed in range(2):
        scene = ShapesScene(seed, *size)
        empty = only(scene).render(50)
        for number in range(len(scene._bodies)):
            alone = only(scene, number)
            (shape,) = alone.truth(50)
            painted = np.array(extent((alone.render(50) != empty).any(2)))
            assert np.abs(painted - shape.box).max() <= 1.6
            middles.append((painted[:2] + painted[2:] - shape.box[:2] - shape.box[2:]) / 2)
    # No shift as a whole: pixel corners and pixel centres are half a pixel apart.
    assert np.abs(np.mean(middles, axis=0)).max() <= 0.25


def test_truth_tells_what_can_be_seen() -> None:
    """Count visible pixels of the rendering itself: a shape is in the truth if and only if enough of it shows."""
    hidden = 0
    for seed in range(16):
        scene = ShapesScene(seed, 160, 120)
        for index in (0, 40):
            empty = only(scene).render(index)
            alone = [only(scene, number) for number in range(len(scene._bodies))]
            masks = [(part.render(index) != empty).any(2) for part in alone]
            truth = scene.truth(index)
            for number, part in enumerate(alone):
                cover = np.any([np.zeros_like(masks[0]), *masks[number + 1 :]], axis=0)
                fraction = (masks[number] & ~cover).sum() / masks[number].sum()
                if abs(fraction - MIN_VISIBLE) > 0.08:  # painted fringes hide a little more than the outlines do
                    assert (part.truth(index)[0] in truth) == (fraction > MIN_VISIBLE)
                hidden += fraction < MIN_VISIBLE
    assert hidden > 0


@pytest.mark.parametrize("size", SIZES)
def test_boxes_lie_inside_the_frame(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(6):
        scene = ShapesScene(seed, width, height)
        for index in (*range(0, 900, 90), 10**9):
            for shape in scene.truth(index):
                x1, y1, x2, y2 = shape.box
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height
                assert LABELS[shape.class_id] == shape.label


def test_scenes_are_varied() -> None:
    counts = {len(ShapesScene(seed, 64, 48)._bodies) for seed in range(60)}
    assert counts == {3, 4, 5, 6, 7}
    assert {body.class_id for body in ShapesScene(0)._bodies} == {0, 1, 2}


def test_motion_is_smooth() -> None:
    scene = only(ShapesScene(2), 0)
    boxes = [scene.truth(index)[0].box for index in range(200)]
    steps = np.abs(np.diff(np.array(boxes), axis=0))
    assert 0 < steps.max() < 20  # pixels in a 30th of a second


def test_the_scene_is_the_one_the_model_knows() -> None:
    """Whoever changes the scene has to train the model again: see tools/train_shapes.py."""
    scene = ShapesScene(0)
    (first, *_) = scene.truth(0)
    assert (first.label, len(scene._bodies)) == ("square", 7)
    assert first.box == pytest.approx((329.942377, 22.928745, 489.156531, 182.142898), abs=1e-6)
    assert scene.render(0).mean() == pytest.approx(88.086, abs=0.05)


def test_shapes_are_values() -> None:
    shape = Shape("circle", 0, (0.0, 0.0, 1.0, 1.0))
    assert shape == Shape("circle", 0, (0.0, 0.0, 1.0, 1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        shape.label = "square"  # type: ignore[misc]


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        ShapesScene(-1)
    with pytest.raises(ValueError, match="seed"):
        ShapesScene(2**32)
    with pytest.raises(ValueError, match="size"):
        ShapesScene(0, 640, MIN_SIDE - 1)
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps"):
            ShapesScene(fps=fps)
    scene = ShapesScene(0, 64, 48)
    for call in (scene.render, scene.truth):
        with pytest.raises(ValueError, match="index"):
            call(-1)
    with pytest.raises(ValueError, match="out"):
        scene.render(0, np.empty((64, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="out"):
        scene.render(0, np.empty((48, 64, 3), np.float32))
