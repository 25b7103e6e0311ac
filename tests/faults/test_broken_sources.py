# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot be opened say why, stop nobody else, and give no password away."""

from __future__ import annotations

from pathlib import Path

from support.daemon import Daemon
from support.fixtures import StartDaemon
from support.ports import free_port
from support.traces import assert_ended_clean
from support.watch import Watch

# The second is not percent-encoded, so that its end looks like a host and a path.
PASSWORDS = ("p:s%40s%2Fword-0815", "pass@127.1.2.3/word-0817")
# Any part that would give the rest away.
BROKEN = {"unplugged", "offline", "odd"}
SECRETS = ("operator", "word-0815", "127.1.2.3", "word-0817", "s%40s", "s@s/")


def public(pid: int) -> str:
    """What any user of the machine can see of a process, and what its own user can."""
    return "".join(Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ", "comm"))


def whatever_shows(daemon: Daemon, watch: Watch) -> str:
    """All that was published and logged, and what can be seen of the processes."""
    seen = b"\n".join(watch.raw).decode() + daemon.output
    for pid in [daemon.process.pid, *daemon.children()]:
        try:
            seen += public(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # a capture process that just gave up
    return seen


def test_a_good_source_goes_on_beside_broken_ones(daemons: StartDaemon) -> None:
    port = free_port()
    cameras = [f"rtsp://operator:{password}@127.0.0.1:{port}/stream?password=word-0815" for password in PASSWORDS]
    daemon = daemons(
        {
            "sources": [
                {"name": "good", "uri": "synthetic://shapes?seed=1"},
                {"name": "unplugged", "uri": "v4l2:///dev/video77"},
                {"name": "offline", "uri": cameras[0]},
                {"name": "odd", "uri": cameras[1]},
            ],
            "publish": {"wait_for_subscribers": 1},
        }
    ).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["good"], 0, 20)
        health = watch.until_health(
            lambda health: all(health.sources[name].state == "backoff" for name in BROKEN), what="all in backoff"
        )
        assert "there is no /dev/video77" in health.sources["unplugged"].reason
        assert f"127.0.0.1:{port}: connection refused" in health.sources["offline"].reason
        assert "percent-encoded" in health.sources["odd"].reason
        assert health.state == "degraded"
        assert len(health.reasons) == len(BROKEN)
        assert {event.source for event in watch.events if event.kind == "source-backoff"} == BROKEN
        # Tried again and again, and the good one never stands still.
        good = watch.until_health().sources["good"]
        assert (good.state, good.reason) == ("live", "")
        assert good.rate_hz > 10
        seen = whatever_shows(daemon, watch)
        assert "offline" in seen
        assert daemon.stop().code == 0
    for secret in SECRETS:
        assert secret not in seen
        assert secret not in daemon.output
    assert_ended_clean(daemon)
