# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot be opened say why, stop nobody else, and give no password away; what is lost is told."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from support.daemon import Daemon
from support.damaged_film import DAMAGED, FRAMES, make_damaged_film
from support.fixtures import StartDaemon
from support.ports import free_port
from support.traces import assert_ended_clean
from support.watch import Watch

PASSWORD = "p:s%40s%2Fword-0815"
# Not percent-encoded, so that its end looks like a host and a path.
ODD = "rtsp://operator:pass@127.1.2.3/word-0817@camera.example/stream"
BROKEN = {"unplugged", "offline"}
# Any part that would give the rest away.
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
    camera = f"rtsp://operator:{PASSWORD}@127.0.0.1:{port}/stream?password=word-0815"
    daemon = daemons(
        {
            "sources": [
                {"name": "good", "uri": "synthetic://shapes?seed=1"},
                {"name": "unplugged", "uri": "v4l2:///dev/video77"},
                {"name": "offline", "uri": camera},
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
        assert health.state == "degraded"
        assert len(health.reasons) == len(BROKEN)
        assert {event.source for event in watch.events if event.kind == "source-backoff"} == BROKEN
        # Tried again and again, and the good one never stands still.
        health = watch.until_health(lambda health: health.sources["good"].rate_hz > 10, what="pace of good")
        good = health.sources["good"]
        assert (good.state, good.reason) == ("live", "")
        seen = whatever_shows(daemon, watch)
        assert "offline" in seen
        assert daemon.stop().code == 0
    for secret in SECRETS:
        assert secret not in seen
        assert secret not in daemon.output
    assert_ended_clean(daemon)


def test_a_password_that_is_not_encoded_is_refused_before_anything_is_asked(daemons: StartDaemon) -> None:
    refused = daemons({"sources": [{"name": "odd", "uri": ODD}]})
    command = [sys.executable, "-m", "edged", "check", "--config", str(refused.config)]
    check = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert check.returncode == 78
    assert refused.start().wait(20) == 78
    daemon = daemons({"sources": [{"name": "good", "uri": "synthetic://shapes"}]}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["good"], 0, 20)
        daemon.config.write_text(daemon.config.read_text().replace("synthetic://shapes", ODD))
        daemon.process.send_signal(signal.SIGHUP)
        watch.until(lambda: any(event.kind == "reload-refused" for event in watch.events))
        assert watch.until_health().state == "ready"
        seen = whatever_shows(daemon, watch)
        assert daemon.stop().code == 0
    for said in (check.stderr, refused.output, seen):
        line = next(line for line in said.splitlines() if "percent-encode" in line)
        assert "edged.toml:" in line
        for part in (*SECRETS, "camera.example"):
            assert part not in said
    assert "word-0817" not in check.stdout
    assert_ended_clean(daemon)


def test_a_run_to_the_end_tells_what_it_has_lost(daemons: StartDaemon, tmp_path: Path) -> None:
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    for index in range(18):
        (tmp_path / f"a{index:02}.jpg").write_bytes(picture)
    broken = {"i_text.jpg": b"x\n", "j_empty.jpg": b"", "k_half.jpg": picture[: len(picture) // 2]}
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "m_mem.jpg").symlink_to("/proc/self/mem")
    daemon = daemons({"sources": [{"name": "a", "uri": f"dir://{tmp_path}"}]}, ["--exit-when-done"]).start()
    assert daemon.wait(30) == 0
    log = daemon.output
    assert "WARNING source a: 1 entry is no regular file and was left out: m_mem.jpg" in log
    for name in broken:
        assert f"WARNING source a: {name} could not be decoded: " in log
    counted = "18 frames published, 3 could not be decoded"
    assert f"source a has ended: {counted} (first: i_text.jpg)" in log
    assert f"all sources have ended: {counted}" in log
    assert "everything is published" not in log
    assert_ended_clean(daemon)


def test_frames_that_came_damaged_are_published_and_say_so(daemons: StartDaemon, tmp_path: Path) -> None:
    film = make_damaged_film(tmp_path / "film.mkv")
    settings = {
        "sources": [{"name": "film", "uri": f"file://{film}", "mode": "lossless"}],
        "publish": {"wait_for_subscribers": 1},
    }
    daemon = daemons(settings, ["--exit-when-done"]).start()
    with Watch(daemon) as watch:
        watch.until(lambda: watch.stopping)
        frames = {message.frame_id: message.frame for message in watch.predictions["film"]}
        assert sorted(frames) == list(range(FRAMES))
        assert [frame_id for frame_id in sorted(frames) if frames[frame_id].damaged is True] == DAMAGED
        source = watch.health.sources["film"]
        assert (source.published, source.damaged) == (FRAMES, len(DAMAGED))
        (note,) = [event.text for event in watch.events if event.kind == "source-note"]
    assert daemon.wait(10) == 0
    told = "17 frames are damaged, from frame 22 on: parts were lost before they came; their predictions say so"
    assert told in note
    assert f"all sources have ended: {FRAMES} frames published, {len(DAMAGED)} came damaged" in daemon.output
    assert_ended_clean(daemon)
