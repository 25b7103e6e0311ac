# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of a child under load: it is replaced, every source is back within 5 s, and the counts still add up."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from support.daemon import wait_until
from support.fixtures import StartDaemon
from support.scenes import accuracy
from support.traces import assert_ended_clean, strange_lines
from support.watch import Watch

from edged.stages.capture.shapes import ShapesScene

BACK_S = 5.0
# Two cameras and a film that takes all that is left of the machine.
SOURCES: list[dict[str, Any]] = [
    {"name": "north", "uri": "synthetic://shapes?seed=1"},
    {"name": "south", "uri": "synthetic://shapes?seed=2"},
    {"name": "film", "uri": "synthetic://shapes?seed=3", "mode": "lossless"},
]
NAMES = [source["name"] for source in SOURCES]


def replaced(victims: set[int], now: list[int]) -> bool:
    """Whether there is a new child for each one that was killed."""
    return len(now) == len(victims) and victims.isdisjoint(now)


@pytest.mark.parametrize("role", ["capture", "infer", "publish"])
def test_every_source_is_back_soon_and_the_counts_add_up(daemons: StartDaemon, role: str) -> None:
    daemon = daemons({"sources": SOURCES}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(NAMES, 0, 20)
        victims = set(daemon.children(role))
        assert len(victims) == (len(NAMES) if role == "capture" else 1)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        killed_s = time.monotonic()
        wait_until(lambda: replaced(victims, daemon.children(role)), BACK_S, "replacement")
        now = time.monotonic()
        watch.wait_for_all(NAMES, now, BACK_S - (now - killed_s))
        assert len(daemon.children()) == len(NAMES) + 2
        # A subscriber that comes only now counts on from where the others are.
        before = {each: watch.predictions[each][-1] for each in NAMES}
        with Watch(daemon, "v1/predictions/") as late:
            late.wait_for_all(NAMES, 0, BACK_S)
            for each in NAMES:
                first = late.predictions[each][0]
                assert first.boot == before[each].boot
                assert first.seq > before[each].seq
                assert first.frame_id > before[each].frame_id
        watch.until_health(lambda health: health.state == "ready", BACK_S, "good health")
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for each in NAMES:
            assert watch.health.sources[each].in_flight == 0
            watch.assert_accounted(each)
        # Only what infer had in hand may be lost with it.
        failed = sum(source.dropped.failed for source in watch.health.sources.values())
        assert failed <= 2 if role == "infer" else failed == 0
    assert_ended_clean(daemon)


def test_a_lossless_capture_goes_on_where_it_was(daemons: StartDaemon) -> None:
    frames, seed = 90, 5_902
    uri = f"synthetic://shapes?seed={seed}&frames={frames}"
    daemon = daemons(
        {
            # So long that both kills hit it, also where this process is held up.
            "sources": [{"name": "film", "uri": uri, "mode": "lossless", "fps": 45}],
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    with Watch(daemon) as watch:
        for count in (10, 25):
            watch.until_count("film", count)
            (capture,) = daemon.children("capture")
            os.kill(capture, signal.SIGKILL)
        watch.until(lambda: watch.stopping)
        # Statistics come right behind the last health message.
        heard = len(watch.stats)
        watch.until(lambda: len(watch.stats) > heard)
    assert watch.ids("film") == list(range(frames))
    # The pictures too: each shows what its number says.
    assert accuracy(watch.predictions["film"], ShapesScene(seed)) > 0.9
    assert watch.stats[-1].processes["capture:film"].restarts == 2
    watch.assert_accounted("film")
    assert daemon.wait(5) == 0
    assert_ended_clean(daemon)


def test_without_the_child_that_prepares_the_model_there_is_no_start(daemons: StartDaemon) -> None:
    daemon = daemons().start()
    wait_until(lambda: bool(daemon.children("prepare")), 10, "prepare child")
    os.kill(daemon.children("prepare")[0], signal.SIGKILL)
    assert daemon.wait(10) == 70
    (line,) = strange_lines(daemon)
    assert line.startswith("edged: ")
    assert "prepares the model was killed by signal 9" in line
    assert daemon.children() == []
    assert not (daemon.folder / "predictions.sock").exists()
