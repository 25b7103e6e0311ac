# SPDX-License-Identifier: Apache-2.0
"""A capture process that hangs while it waits for its next frame's time is ended and replaced; the others go on."""

from __future__ import annotations

import os
import signal
import time

from support.daemon import wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch


def test_a_paced_source_that_hangs_is_back_soon(daemons: StartDaemon) -> None:
    paced = {"name": "paced", "uri": "synthetic://shapes?seed=1&fps=5"}
    film = {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 5}
    daemon = daemons({"sources": [paced, film]}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["paced", "film"], 0, 20)
        hung = daemon.children("capture")
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        wait_until(lambda: not set(hung).intersection(daemon.children("capture")), 5, "end of them")
        watch.wait_for_all(["paced", "film"], stopped_s + 0.5, 5)
        assert "the capture process hangs" in daemon.output
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for name in ("paced", "film"):
            watch.assert_accounted(name)
    assert_ended_clean(daemon)
