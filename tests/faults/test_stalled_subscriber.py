# SPDX-License-Identifier: Apache-2.0
"""Undisturbed: a subscriber that connects and never reads changes neither rate nor ages nor the publisher's memory."""

from __future__ import annotations

import time
from typing import NamedTuple

from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, resident_bytes
from support.watch import Watch

from edged.messages import Prediction, predictions_topic
from edged.stages.publish.client import Subscriber

WINDOW_S = 4.0
# Other work on the machine disturbs, too; a subscriber that blocks the publisher would disturb every round.
ROUNDS = 6
FPS = 30.0
TOLERANCE_HZ = 0.3
WORSE_MS = 20.0
GROWTH_BYTES = 5 * 1024 * 1024
# Fills whatever lies between publisher and subscriber: two queues and the kernel's buffer take about 500 messages.
FILLING = 700


class Window(NamedTuple):
    """What one subscriber saw of the paced source in some seconds."""

    rate_hz: float
    p99_ms: float


def observe(watch: Watch) -> Window:
    """Look on for a while."""
    start = len(watch.ids("paced"))
    watch.record(WINDOW_S)
    seen = watch.predictions["paced"][start:]
    span_s = (seen[-1].captured_monotonic_ns - seen[0].captured_monotonic_ns) / 1e9
    ages = sorted(message.age_ms for message in seen)
    return Window((len(seen) - 1) / span_s, ages[len(ages) * 99 // 100])


def calm(window: Window) -> bool:
    """Whether a window shows no disturbance at all."""
    return abs(window.rate_hz - FPS) <= TOLERANCE_HZ and window.p99_ms <= WORSE_MS


def last_before_the_gap(stuck: Subscriber) -> Prediction:
    """Read at last: the newest message that came through before it blocked."""
    last: Prediction | None = None
    for received in stuck.messages(5.0):
        if received.topic != predictions_topic("paced"):
            continue
        assert isinstance(received.message, Prediction)
        if received.lost:
            break
        last = received.message
    else:
        raise AssertionError("it was never blocked")
    assert last is not None
    return last


def test_a_subscriber_that_never_reads_disturbs_nobody(daemons: StartDaemon) -> None:
    daemon = daemons(
        {
            "sources": [
                {"name": "paced", "uri": f"synthetic://shapes?fps={FPS:g}&size=320x240"},
                {
                    "name": "filling",
                    "uri": f"synthetic://shapes?frames={FILLING}&size=320x240&cache=9",
                    "mode": "lossless",
                },
            ],
            "publish": {"wait_for_subscribers": 2},
        }
    ).start()
    with (
        Subscriber(daemon.endpoint, ["v1/predictions/"], hwm=1) as stuck,
        Watch(daemon) as watch,
    ):
        watch.until_health(lambda health: health.sources["filling"].state == "ended", 60)
        (publish,) = daemon.children("publish")
        blocked_ns = time.monotonic_ns()
        memory = resident_bytes(publish)
        disturbed = [observe(watch)]
        while not calm(disturbed[-1]) and len(disturbed) < ROUNDS:
            disturbed.append(observe(watch))
        grown = resident_bytes(publish) - memory
        assert watch.health.subscribers == 2
        # It really was blocked all the time, or all this would show nothing.
        assert last_before_the_gap(stuck).captured_monotonic_ns < blocked_ns
        stuck.close()
        alone = observe(watch)
        assert watch.subscriber.lost == {}
        assert daemon.stop().code == 0
    assert min(abs(window.rate_hz - FPS) for window in disturbed) <= TOLERANCE_HZ, disturbed
    assert min(window.p99_ms for window in disturbed) <= alone.p99_ms + WORSE_MS, (disturbed, alone)
    assert grown < GROWTH_BYTES
    assert_ended_clean(daemon)
