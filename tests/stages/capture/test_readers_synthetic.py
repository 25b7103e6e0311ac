# SPDX-License-Identifier: Apache-2.0
"""The synthetic source: the scene's frames, in order, as many as asked for."""

from __future__ import annotations

import numpy as np

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.synthetic import ShapesReader
from edged.stages.capture.shapes import ShapesScene
from edged.stages.capture.uri import parse


def test_frames_are_the_scene_s() -> None:
    reader = open_reader(parse("synthetic://shapes?fps=10&seed=3&size=96x64&frames=5"), live=True)
    scene = ShapesScene(3, 96, 64, 10.0)
    assert isinstance(reader, ShapesReader)
    assert (reader.fps, reader.decode) == (10.0, "software")
    for _ in range(2):
        for index in range(5):
            picture = reader.read()
            assert picture is not None
            assert picture.image.shape == (64, 96, 3)
            np.testing.assert_array_equal(picture.image, scene.render(index))
        assert reader.read() is None
        assert reader.read() is None
        reader.rewind()
    reader.close()


def test_without_a_number_it_never_ends() -> None:
    reader = open_reader(parse("synthetic://shapes?size=32x32"), live=False)
    first = reader.read()
    assert first is not None
    image = first.image
    for _ in range(50):
        picture = reader.read()
        assert picture is not None
        assert picture.image is image


def test_a_cache_repeats_the_first_frames_of_the_scene() -> None:
    reader = open_reader(parse("synthetic://shapes?seed=3&size=96x64&cache=3&frames=8"), live=False)
    scene = ShapesScene(3, 96, 64)
    images = []
    for index in range(8):
        picture = reader.read()
        assert picture is not None
        np.testing.assert_array_equal(picture.image, scene.render(index % 3))
        images.append(picture.image)
    assert reader.read() is None
    assert images[0] is images[3] is images[6], "a frame was drawn twice"
    reader.rewind()
    again = reader.read()
    assert again is not None
    assert again.image is images[0]
