# SPDX-License-Identifier: Apache-2.0
"""A folder of images, one of them broken: it is counted and passed over, the others keep their names."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
from support.fixtures import StartDaemon
from support.scenes import accuracy
from support.traces import assert_ended_clean
from support.watch import Watch

from edged.stages.capture.shapes import ShapesScene

SCENE = ShapesScene(seed=5_901)
# In the byte order of UTF-8, which is not the order of any language.
NAMES = ("1 with spaces.png", "2.png", "a#b?c%20.png", "Ä.png", "Я.png", "写真.png", "🙂.png")
BROKEN = {"2.png": b"\x89PNG\r\n\x1a\n but no picture", "Я.png": b""}


def write_images(folder: Path) -> list[str]:
    """Frame n of the scene as the n-th image by byte order; returns the names in this order."""
    names = sorted(NAMES, key=os.fsencode)
    for index, name in enumerate(names):
        good, data = cv2.imencode(".png", SCENE.render(index))
        assert good
        (folder / name).write_bytes(BROKEN.get(name, data.tobytes()))
    (folder / "notes.txt").write_text("no picture")
    return names


def test_a_broken_image_is_counted_and_passed_over(daemons: StartDaemon, tmp_path: Path) -> None:
    folder = tmp_path / "Bilder für später"
    folder.mkdir()
    names = write_images(folder)
    daemon = daemons(
        {"sources": [{"name": "photos", "uri": f"dir://{folder}"}], "publish": {"wait_for_subscribers": 1}},
        ["--exit-when-done"],
    ).start()
    with Watch(daemon) as watch:
        watch.until(lambda: watch.stopping)
    expected = {index: name for index, name in enumerate(names) if name not in BROKEN}
    assert {each.frame_id: each.frame.file for each in watch.predictions["photos"]} == expected
    assert watch.predictions["photos"][-1].dropped.decode_error == len(BROKEN)
    assert accuracy(watch.predictions["photos"], SCENE) > 0.9
    source = watch.health.sources["photos"]
    assert (source.captured, source.published, source.in_flight) == (len(names), len(expected), 0)
    assert source.dropped.decode_error == len(BROKEN)
    watch.assert_accounted("photos")
    assert daemon.wait(5) == 0
    assert_ended_clean(daemon)
