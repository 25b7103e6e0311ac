# SPDX-License-Identifier: Apache-2.0
"""The infer process hangs for a while, as on a machine that was suspended: one slow batch condemns no later frame."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from support.fixtures import StartDaemon
from support.models import write_slow_model
from support.traces import assert_ended_clean
from support.watch import Watch

# Less than the 1.5 s after which it counts as hung; longer than the age limit by a factor that makes an average of
# batch times exceed it, too.
STALL_S = 1.0
HUNG_S = 1.5
MAX_AGE_MS = 300


def test_predictions_are_back_after_a_stall(daemons: StartDaemon, tmp_path: Path) -> None:
    daemon = daemons(
        {
            "sources": [{"name": "camera", "uri": "synthetic://shapes?fps=60&size=192x192", "max_age_ms": MAX_AGE_MS}],
            # More frames than it can take: a batch is under way at any moment, so the stall hits one.
            "model": {"spec": str(write_slow_model(tmp_path))},
            "engine": {"max_batch": 1, "threads": 1},
        }
    ).start()
    with Watch(daemon, max_age_ms=MAX_AGE_MS) as watch:
        watch.wait_for_all(["camera"], 0, 20)
        watch.wait_for_all(["camera"], time.monotonic(), 5)
        (infer,) = daemon.children("infer")
        stopped_s = time.monotonic()
        os.kill(infer, signal.SIGSTOP)
        time.sleep(STALL_S)
        with suppress(ProcessLookupError):
            os.kill(infer, signal.SIGCONT)
        resumed_s = time.monotonic()
        watch.wait_for_all(["camera"], resumed_s, 5)
        # On a busy machine it lasts longer than it is meant to; then it was right to take it for hung.
        assert daemon.children("infer") == [infer] or resumed_s - stopped_s > 0.9 * HUNG_S
        assert daemon.stop().code == 0
    assert_ended_clean(daemon)
