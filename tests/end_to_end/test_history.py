# SPDX-License-Identifier: Apache-2.0
"""What the device delivered is on record over restarts, also where the daemon was killed, and heat is told with it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from support.fixtures import StartDaemon
from support.watch import Watch

from edged.messages import Stats
from edged.monitor.ledger.history import Findings, read
from edged.monitor.ledger.ledger import Ledger
from edged.monitor.ledger.sample import Latencies, Sample

PATIENCE_S = 15.0
EARLIER = 3 * 60 * 40


def earlier_minutes(folder: Path) -> None:
    """Three minutes of this boot at 40 frames a second, which ended a minute ago."""
    ledger = Ledger(folder, "earlier")
    begin = time.monotonic() - 240
    for second in range(1, 181):
        ledger.add(Sample(begin + second, 1.0, 40, Latencies.of([5.0] * 40), wall_s=time.time()))
    ledger.close()


def hour_of(stats: Stats) -> int:
    return stats.windows["60m"].frames if stats.windows else 0


def test_history_goes_on_after_a_kill_and_after_a_stop(daemons: StartDaemon, tmp_path: Path) -> None:
    state = tmp_path / "kept"
    earlier_minutes(state / "ledger")
    monitor = {"governor": "advise", "interval_s": 0.25}
    settings = {"daemon": {"name": "test", "state_dir": str(state)}, "monitor": monitor}
    daemon = daemons(settings).start()
    with Watch(daemon) as watch:
        watch.until(lambda: bool(watch.stats) and hour_of(watch.stats[-1]) > EARLIER, PATIENCE_S, "frames on record")
        minute = watch.stats[-1].windows["1m"]
        assert minute.latency_ms
        assert 0 < minute.frames < EARLIER
        watch.until(lambda: bool(watch.thermals), PATIENCE_S, "a message of heat")
        governor = watch.thermals[-1].governor
        assert governor
        assert (governor.mode, governor.level) == ("advise", 0)
        assert watch.health.last_seq["v1/thermal/"] >= 1
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(10)
    daemon.start()
    with Watch(daemon) as watch:
        watch.until(lambda: bool(watch.stats) and hour_of(watch.stats[-1]) > EARLIER, PATIENCE_S, "history again")
    assert daemon.terminate() == 0
    findings = Findings()
    kept = [minute.totals.frames for minute in read(state / "ledger", findings)]
    assert (kept[:-1], str(findings)) == ([2400, 2400, 2400], "")
    assert kept[-1] > 0
    assert "has no effect" not in daemon.output
