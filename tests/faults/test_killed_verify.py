# SPDX-License-Identifier: Apache-2.0
"""The verify process is killed or stands still: it comes back, and nothing else notices."""

from __future__ import annotations

import itertools
import os
import signal
import time

from support.daemon import Daemon, wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, resident_bytes
from support.watch import Watch

from edged.messages_stats import Verified

SOURCES = [
    {"name": "north", "uri": "synthetic://shapes?seed=1&fps=20"},
    {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 20},
]
NAMES = ["north", "film"]
LONGEST_PAUSE_S = 2.5
# At idle priority there is next to no time while other things run on the machine.
PATIENCE_S = 50.0
MORE_MEMORY = 16 << 20


def looked_at(watch: Watch) -> Verified:
    found = watch.stats[-1].verified if watch.stats else None
    return found if isinstance(found, Verified) else Verified(every=1, bound=0.0)


def start(daemons: StartDaemon) -> Daemon:
    return daemons({"sources": SOURCES, "monitor": {"verify_every": 2}}).start()


def assert_never_paused(watch: Watch, since_s: float) -> None:
    """No source's predictions stopped for long, and no frame of the lossless one is missing."""
    for name in NAMES:
        at = [message.at for message in watch.predictions[name] if message.captured_monotonic_ns > since_s * 1e9]
        assert len(at) > 20
        assert max(after - before for before, after in itertools.pairwise(at)) < LONGEST_PAUSE_S, name
    assert watch.ids("film") == list(range(watch.ids("film")[0], watch.ids("film")[-1] + 1))
    others = [process for name, process in watch.stats[-1].processes.items() if name != "verify"]
    assert all(process.restarts == 0 for process in others)


def test_killed_it_comes_back(daemons: StartDaemon) -> None:
    daemon = start(daemons)
    with Watch(daemon) as watch:
        watch.until(lambda: looked_at(watch).frames >= 5, PATIENCE_S)
        since_s = time.monotonic()
        for restarts in (1, 2):
            (victim,) = daemon.children("verify")
            os.kill(victim, signal.SIGKILL)
            before = looked_at(watch).frames
            wait_until(lambda victim=victim: daemon.children("verify") not in ([], [victim]), 10, "replacement")  # type: ignore[misc]
            watch.until(lambda before=before: looked_at(watch).frames >= before + 5, PATIENCE_S)  # type: ignore[misc]
            assert watch.stats[-1].processes["verify"].restarts == restarts
        assert_never_paused(watch, since_s)
        health = watch.until_health()
        assert (health.state, health.reasons) == ("ready", [])
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for name in NAMES:
            assert watch.health.sources[name].in_flight == 0
            watch.assert_accounted(name)
        assert all(source.dropped.failed == 0 for source in watch.health.sources.values())
    events = [event for event in watch.events if event.kind == "process-replaced"]
    assert len(events) == 2
    assert all("verify process was killed by signal 9" in event.text for event in events)
    assert_ended_clean(daemon)


def test_stopped_nobody_notices_and_memory_stays_bounded(daemons: StartDaemon) -> None:
    daemon = start(daemons)
    with Watch(daemon) as watch:
        watch.until(lambda: looked_at(watch).frames >= 5, PATIENCE_S)
        (victim,) = daemon.children("verify")
        os.kill(victim, signal.SIGSTOP)
        since_s = time.monotonic()
        # The first statistics may be of before it stopped.
        heard = len(watch.stats)
        watch.until(lambda: len(watch.stats) >= heard + 2)
        others = {pid: resident_bytes(pid) for pid in daemon.children() if pid != victim}
        before = looked_at(watch)
        watch.record(4.0)
        after = looked_at(watch)
        # Frames were due all the time; they were passed over and counted.
        assert after.frames <= before.frames + 2
        assert after.skipped > before.skipped + 20
        assert_never_paused(watch, since_s)
        for pid, bytes_before in others.items():
            assert resident_bytes(pid) < bytes_before + MORE_MEMORY
        assert set(daemon.children()) == {*others, victim}
        os.kill(victim, signal.SIGCONT)
        watch.until(lambda: looked_at(watch).frames >= after.frames + 5, PATIENCE_S)
        # Standing still it is ended with the others, too.
        os.kill(victim, signal.SIGSTOP)
        ended = daemon.stop()
        assert ended.code == 0
        assert ended.seconds < 3
    assert_ended_clean(daemon)
