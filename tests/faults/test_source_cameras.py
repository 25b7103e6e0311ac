# SPDX-License-Identifier: Apache-2.0
"""Real cameras behind a bad network, and decoders that hang and crash: seen, survived, and nobody else notices.

One of each here, all at once; ``python -m tools.bench.cameras`` has them happen again and again and measures the times
that edged promises. Deadlines here are generous: this machine may be busy with something else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.camera_rig import differences, settings_of, settled_census, sick_decoders, wait_for_census
from support.cameras import Camera, CameraServer, build_sick_decoder, cameras, make_film, missing
from support.daemon import Daemon
from support.fixtures import StartDaemon
from support.proxy import FINE, Weather
from support.source_faults import NETWORK, STRIKES, capture_of, replaced_after
from support.source_watch import SourceWatch
from support.traces import assert_ended_clean

FPS = 10
SEEN_S, BACK_S, REST_S = 6.0, 12.0, 10.0
LONGEST_GAP_S = 2.5
STANDERS_BY = ("east", "west")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cameras play; skips where GStreamer's RTSP server is missing."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    return make_film(tmp_path_factory.mktemp("film") / "film.mkv", (320, 180), fps=FPS, count=60)


@contextmanager
def watching(daemon: Daemon, names: Sequence[str]) -> Iterator[SourceWatch]:
    """Watch a daemon from the first frames of these cameras until it has stopped, and check the accounts of all."""
    with SourceWatch(daemon) as watch:
        watch.wait_for_all(names, 0, 30)
        yield watch
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for name in watch.predictions:
            assert watch.health.sources[name].in_flight == 0
            watch.assert_accounted(name)
    assert_ended_clean(daemon)


def assert_undisturbed(watch: SourceWatch, since_s: float) -> None:
    """Cameras that nothing happened to never stood still, as far as can be told on a machine with other work."""
    for name in STANDERS_BY:
        pace = watch.pace(name, since_s, time.monotonic())
        # The machine may have stood still for a second, or the newest frames may not have come yet.
        assert pace.frames + pace.missing >= 0.8 * FPS * (time.monotonic() - since_s - 1.0), (name, pace)
        assert pace.missing <= 0.3 * pace.frames, (name, pace)
        assert pace.longest_gap_s < LONGEST_GAP_S, (name, pace)
        assert watch.seen_after(name, since_s) is None, watch.changes[name]


def has_size(watch: SourceWatch, name: str, size: tuple[int, int]) -> bool:
    """Whether the newest prediction of a camera is of a picture of this width, height."""
    newest = watch.predictions[name][-1]
    return (newest.frame.width, newest.frame.height) == size


def resized(watch: SourceWatch, name: str) -> list[str]:
    """What was said of a camera's picture size."""
    return [event.text for event in watch.events if event.source == name and "pixels" in event.text]


def is_resized(watch: SourceWatch, name: str) -> bool:
    """Whether anything was."""
    return bool(resized(watch, name))


def test_a_bad_network_is_seen_and_survived(daemons: StartDaemon, film: Path) -> None:
    # The first has a server of its own, which may be killed.
    order = sorted(NETWORK, key=lambda fault: fault.name != "server killed")
    victims = {fault.name.replace(" ", "-"): fault for fault in order}
    with cameras(film, *victims, *STANDERS_BY, fps=FPS) as made:
        by_name = {camera.name: camera for camera in made}
        daemon = daemons(settings_of(made)).start()
        with watching(daemon, list(by_name)) as watch:
            before = settled_census(daemon, watch)
            begin = time.monotonic()
            for name, fault in victims.items():
                fault.begin(by_name[name])
            for name in victims:
                watch.until_seen(name, begin, SEEN_S)
            for name, fault in victims.items():
                fault.heal(by_name[name], film)
            healed = time.monotonic()
            for name in victims:
                watch.until_back(name, healed, BACK_S)
            after = wait_for_census(daemon, watch, before, REST_S)
            assert not differences(before, after)
            assert_undisturbed(watch, begin)
            assert by_name["corrupted"].proxy.damaged > 0


def test_sick_decoders_are_replaced(daemons: StartDaemon, film: Path, tmp_path: Path) -> None:
    try:
        library = build_sick_decoder(tmp_path)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    victims = {how.replace(" ", "-").lower(): how for how in STRIKES}
    with cameras(film, *victims, *STANDERS_BY, fps=FPS) as made:
        daemon = daemons(settings_of(made))
        with sick_decoders(library, daemon.folder):
            daemon.start()
        with watching(daemon, [camera.name for camera in made]) as watch:
            before = settled_census(daemon, watch)
            old = {name: capture_of(daemon, name) for name in victims}
            begin = time.monotonic()
            for name, how in victims.items():
                STRIKES[how](daemon, name)
            for name in victims:
                replaced_after(daemon, name, old[name], begin, SEEN_S)
            replaced = time.monotonic()
            for name in victims:
                watch.until_back(name, replaced, BACK_S)
            after = wait_for_census(daemon, watch, before, REST_S)
            assert not differences(before, after)
            assert_undisturbed(watch, begin)


def test_what_changes_while_it_runs(daemons: StartDaemon, film: Path, tmp_path: Path) -> None:
    """A camera that comes late, a login that is refused all the time, a camera that changes its picture's size."""
    guarded = CameraServer(film, fps=FPS, login=("viewer", "right"))
    refused = Camera("refused", guarded)
    try:
        with cameras(film, "late", *STANDERS_BY, fps=FPS) as made:
            late = made[0]
            late.proxy.set(Weather(refuse=True))
            settings = settings_of(made)
            settings["sources"].append(refused.source("viewer:wrong"))
            daemon = daemons(settings).start()
            with watching(daemon, STANDERS_BY) as watch:
                watch.until_seen("late", 0, SEEN_S)
                watch.until_seen("refused", 0, SEEN_S)
                begin = time.monotonic()
                watch.record(3.0)
                assert refused.proxy.accepted <= 4, "a storm of logins"
                assert "late" not in watch.predictions
                assert_undisturbed(watch, begin)
                late.proxy.set(FINE)
                watch.until_back("late", time.monotonic(), BACK_S)
                said = [event for event in watch.events if event.source == "refused" and event.severity != "info"]
                assert len(said) == 1, said
                # Another picture size, from one frame to the next, in the middle of the stream.
                assert made[1].server is not None
                made[1].server.play(make_film(tmp_path / "other.mkv", (200, 112), fps=FPS, count=30))
                for name in STANDERS_BY:
                    watch.until(partial(has_size, watch, name, (200, 112)), BACK_S, f"small pictures of {name}")
                    sizes = [(each.frame.width, each.frame.height) for each in watch.predictions[name]]
                    assert sizes == sorted(sizes, reverse=True), "one size, then the other"
                    assert set(sizes) == {(320, 180), (200, 112)}
                    watch.until(partial(is_resized, watch, name), BACK_S, f"news of the pictures of {name}")
                    news = f"source {name}: its pictures are 200 × 112 pixels now; they were 320 × 180"
                    assert resized(watch, name) == [news]
                assert_undisturbed(watch, begin)
    finally:
        refused.proxy.close()
        guarded.kill()
