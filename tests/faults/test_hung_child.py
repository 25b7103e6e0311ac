# SPDX-License-Identifier: Apache-2.0
"""A child that lives and does nothing although work waits for it: it is named, ended and replaced, the others go on."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.daemon import wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch

NAMES = ["camera", "film"]
# Until predictions are back: the time to be sure that it hangs, and that of a start.
BACK_S = {"infer": 5.0, "publish": 5.0}


@pytest.mark.parametrize("role", ["infer", "publish"])
def test_a_hung_process_is_replaced(daemons: StartDaemon, role: str) -> None:
    film = {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 40}
    daemon = daemons({"sources": [{"name": "camera", "uri": "synthetic://shapes?seed=1"}, film]}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(NAMES, 0, 20)
        captures = daemon.children("capture")
        (hung,) = daemon.children(role)
        os.kill(hung, signal.SIGSTOP)
        stopped_s = time.monotonic()
        wait_until(lambda: hung not in daemon.children(role), BACK_S[role], "end of it")
        watch.wait_for_all(NAMES, stopped_s + 1.0, BACK_S[role])
        assert time.monotonic() - stopped_s < BACK_S[role]
        watch.until(lambda: any(event.kind == "process-replaced" for event in watch.events) or role == "publish")
        assert f"the {role} process hung for " in daemon.output
        assert daemon.children("capture") == captures
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for name in NAMES:
            watch.assert_accounted(name)
            assert watch.health.sources[name].dropped.failed <= (2 if role == "infer" else 0)
    assert_ended_clean(daemon)
