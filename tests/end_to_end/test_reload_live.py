# SPDX-License-Identifier: Apache-2.0
"""Settings that change while the daemon runs: sources come, go and change; the others notice nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from support.daemon import Daemon, toml, wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch

NORTH = {"name": "north", "uri": "synthetic://shapes?seed=1"}
FILM = {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 50}
EAST = {"name": "east", "uri": "synthetic://shapes?seed=3"}
REEL = {"name": "reel", "uri": "synthetic://shapes?seed=4", "mode": "lossless", "fps": 40}


def rewrite(daemon: Daemon, *sources: dict[str, Any]) -> None:
    """Give a daemon other sources and have it read them."""
    head, _, rest = daemon.config.read_text().partition("[[sources]]")
    daemon.config.write_text(head + toml({"sources": list(sources)}) + rest[rest.index("[model]") :])
    daemon.process.send_signal(signal.SIGHUP)


def descriptors(daemon: Daemon) -> dict[str, int]:
    """Open descriptors of the processes that stay: the fewest of several looks, for files are read now and then."""
    pids = {"supervisor": daemon.process.pid}
    pids |= {role: daemon.children(role)[0] for role in ("infer", "publish")}
    fewest: dict[str, int] = {}
    for _ in range(10):
        for role, pid in pids.items():
            count = len(os.listdir(f"/proc/{pid}/fd"))
            fewest[role] = min(count, fewest.get(role, count))
        time.sleep(0.01)
    return fewest


def slow(watch: Watch, name: str) -> bool:
    """Whether the newest frames of a source are further apart than those of a camera that is not held back."""
    recent = [each.captured_monotonic_ns for each in watch.predictions[name][-4:]]
    return min(after - before for before, after in pairwise(recent)) > 0.05e9


def rings(daemon: Daemon, role: str) -> int:
    """Frame rings that a process has mapped."""
    (pid,) = daemon.children(role)
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:edged-frames")


def gone(watch: Watch, name: str) -> list[Any]:
    return [event for event in watch.events if event.kind == "source-removed" and event.source == name]


def test_sources_come_and_go_and_leave_nothing_behind(daemons: StartDaemon) -> None:
    daemon = daemons({"sources": [NORTH, FILM]}).start()
    rounds = 3
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "film"], 0, 20)
        before: dict[str, int] = {}
        family = sorted(daemon.children())
        for count in range(1, rounds + 1):
            rewrite(daemon, NORTH, FILM, EAST, REEL)
            watch.wait_for_all(["east", "reel", "north", "film"], time.monotonic(), 10)
            rewrite(daemon, NORTH, FILM)
            watch.until(lambda count=count: len(gone(watch, "east")) == len(gone(watch, "reel")) == count, 10)  # type: ignore[misc]
            before = before or descriptors(daemon)
        wait_until(lambda: descriptors(daemon) == before, 5, f"descriptors as before, {before}")
        assert rings(daemon, "infer") == rings(daemon, "publish") == 2
        assert len(daemon.children()) == 4
        for name in ("east", "reel"):
            counts = gone(watch, name)[-1].data
            lost = sum(counts[reason] for reason in ("overwritten", "stale", "decode_error", "failed", "shutdown"))
            assert counts["captured"] == counts["published"] + lost
            # Under its old name a source goes on counting: every message of all rounds was numbered in a row.
            seqs = [message.seq for message in watch.predictions[name]]
            assert seqs == list(range(1, counts["published"] + 1))
        # All that was captured of a lossless source was published, round for round.
        assert watch.ids("reel") == list(range(len(watch.ids("reel"))))
        assert watch.ids("film") == list(range(watch.ids("film")[0], watch.ids("film")[-1] + 1))
        # The others noticed nothing: the same processes all the time.
        assert sorted(daemon.children()) == family
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        assert set(watch.health.sources) == {"north", "film"}
        watch.assert_accounted("north")
        watch.assert_accounted("film")
    assert_ended_clean(daemon)


def test_sources_and_thresholds_change_while_others_run(daemons: StartDaemon, tmp_path: Path) -> None:
    assets = Path(sys.modules["edged"].__file__ or "").parent / "assets"
    spec = tmp_path / "shapes.toml"
    text = (assets / "shapes.toml").read_text()
    for name in ("shapes.onnx", "shapes.names"):
        text = text.replace(f'"{name}"', f'"{assets / name}"')
    spec.write_text(text)
    daemon = daemons({"sources": [NORTH, FILM], "model": {"spec": str(spec)}}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "film"], 0, 20)
        (infer,), (publish,) = daemon.children("infer"), daemon.children("publish")
        assert any(message.detections for message in watch.predictions["film"])
        lines = [line for line in text.splitlines() if not line.startswith("score_threshold")]
        place = lines.index("[output]") if "[output]" in lines else -1
        lines = [*lines, "[output]"] if place < 0 else lines
        lines.insert(lines.index("[output]") + 1, "score_threshold = 1.0")
        spec.write_text("\n".join(lines) + "\n")
        # Another film, a camera that is slower and whose frames may be older; the mode of a source; a threshold.
        rewrite(daemon, {**NORTH, "fps": 10, "max_age_ms": 900}, {**FILM, "uri": "synthetic://shapes?seed=9&frames=5"})
        daemon.wait_for_log("score_threshold is 1 now")
        watch.until_health(lambda health: health.sources["film"].state == "ended", 10)
        now = time.monotonic()
        watch.wait_for_all(["north"], now + 0.5, 10)
        assert not watch.predictions["north"][-1].detections
        assert watch.ids("film") == list(range(watch.ids("film")[0], watch.ids("film")[-1] + 1))
        watch.until(lambda: slow(watch, "north"), 10, "slower frames of north")
        rewrite(daemon, {**NORTH, "mode": "lossless", "fps": 20}, FILM)
        watch.wait_for_all(["north", "film"], time.monotonic() + 0.5, 10)
        assert (daemon.children("infer"), daemon.children("publish")) == ([infer], [publish])
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        watch.assert_accounted("north")
        watch.assert_accounted("film")
    assert_ended_clean(daemon)


def reload_with(daemon: Daemon, *flags: str) -> tuple[int, str]:
    """Run ``edged reload``; its exit code and all that it says."""
    command = [sys.executable, "-m", "edged", "reload", "--config", str(daemon.config), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_command_says_what_came_of_it(daemons: StartDaemon) -> None:
    daemon = daemons({"sources": [NORTH]})
    code, said = reload_with(daemon)
    assert code == 69
    assert "no daemon runs with these settings" in said
    daemon.start().wait_for_log("is live")
    good = daemon.config.read_text()
    assert reload_with(daemon) == (0, "nothing has changed\n")
    daemon.config.write_text(good.replace('name = "test"', 'name = "test"\nlog_level = "warning"'))
    assert reload_with(daemon) == (0, "the log level is warning now\n")
    daemon.config.write_text(good.replace("max_batch = 1", "max_batch = 4"))
    code, said = reload_with(daemon)
    assert (code, said) == (0, "the log level is info now; a restart is needed for engine.max_batch\n")
    daemon.config.write_text(good.replace("max_batch = 1", "max_batch = 0"))
    code, said = reload_with(daemon)
    assert code == 78
    assert "engine.max_batch" in said
    # What only the daemon can find out: it is asked, and refuses.
    daemon.config.write_text(good.replace("shapes?seed=1", "nothing?seed=1"))
    code, said = reload_with(daemon)
    assert code == 78
    assert "refused, the daemon's settings stay as they are" in said
    assert "the settings stay as they are" in daemon.output
    wait_until(lambda: len(daemon.children("capture")) == 1, 5, "capture")
    assert daemon.stop().code == 0
    assert_ended_clean(daemon)
