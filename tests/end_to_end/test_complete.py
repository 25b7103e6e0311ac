# SPDX-License-Identifier: Apache-2.0
"""Complete: a lossless source gives one message for every frame that can be decoded, in order, none twice."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from support.data import shared_data
from support.fixtures import StartDaemon
from support.scenes import accuracy
from support.traces import assert_ended_clean
from support.watch import Watch

from edged.stages.capture.shapes import ShapesScene

DECODABLE = 341
SCENE = ShapesScene(seed=5_900)
WRITTEN = 60


@pytest.mark.data
def test_a_real_video_is_published_whole_and_the_daemon_goes_on(daemons: StartDaemon) -> None:
    video = shared_data() / "video" / "people-720p50.avi"
    daemon = daemons(
        {"sources": [{"name": "people", "uri": f"file://{video}"}], "publish": {"wait_for_subscribers": 1}}
    ).start()
    with Watch(daemon) as watch:
        watch.until_count("people", DECODABLE, 60)
        watch.until_health(lambda health: health.sources["people"].state == "ended")
        source = watch.until_health().sources["people"]
        assert (source.state, source.reason, source.in_flight) == ("ended", "", 0)
        assert (watch.health.state, watch.health.reasons) == ("ready", [])
        assert watch.ids("people") == list(range(DECODABLE))
        assert (source.captured, source.published) == (DECODABLE, DECODABLE)
        assert {(each.frame.width, each.frame.height) for each in watch.predictions["people"]} == {(1280, 720)}
        watch.assert_accounted("people")
        assert daemon.terminate() == 0
        assert_ended_clean(daemon)


def write_video(path: Path) -> None:
    """A motion JPEG film of the scene."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (SCENE.width, SCENE.height))
    assert writer.isOpened()
    for index in range(WRITTEN):
        writer.write(SCENE.render(index))
    writer.release()


def decodable(path: Path) -> int:
    """How many frames of a film a plain OpenCV loop gets."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_a_video_that_was_cut_off_is_published_up_to_its_last_frame(daemons: StartDaemon, tmp_path: Path) -> None:
    film = tmp_path / "cut off, äöü #1 %20.avi"
    write_video(film)
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    count = decodable(film)
    assert 20 < count < WRITTEN
    daemon = daemons(
        {"sources": [{"name": "film", "uri": f"file://{film}"}], "publish": {"wait_for_subscribers": 1}},
        ["--exit-when-done"],
    ).start()
    with Watch(daemon) as watch:
        watch.until(lambda: watch.stopping)
    assert watch.ids("film") == list(range(count))
    # Each message is about the frame whose number it bears.
    assert accuracy(watch.predictions["film"], SCENE) > 0.9
    source = watch.health.sources["film"]
    assert (source.state, source.captured, source.dropped.decode_error) == ("ended", count, 0)
    watch.assert_accounted("film")
    assert daemon.wait(5) == 0
    assert_ended_clean(daemon)


def test_sources_wait_for_subscribers_to_predictions(daemons: StartDaemon) -> None:
    frames = 30
    uri = f"synthetic://shapes?seed=3&frames={frames}"
    daemon = daemons(
        {
            "sources": [{"name": "only", "uri": uri, "mode": "lossless"}],
            "publish": {"wait_for_subscribers": 2},
        },
        ["--exit-when-done"],
    ).start()

    def assert_held_back(watch: Watch) -> None:
        health = watch.until_health(lambda health: health.state == "ready")
        assert health.sources["only"].captured == 0

    # A subscription to health is none to predictions.
    with Watch(daemon, "v1/health/") as health, Watch(daemon, "v1/predictions/only/") as first:
        assert_held_back(health)
        with Watch(daemon) as second:
            for watch in (first, second):
                watch.until_count("only", frames)
                assert watch.ids("only") == list(range(frames))
            second.until(lambda: second.stopping)
    assert daemon.wait(5) == 0
