# SPDX-License-Identifier: Apache-2.0
"""A network camera, played by GStreamer's RTSP server with a user and a password."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch

from edged.messages import Prediction

SERVER = Path(__file__).resolve().parents[1] / "support" / "rtsp_server.py"
PYTHON = "/usr/bin/python3"
PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
for name in ("videotestsrc", "x264enc", "rtph264pay"):
    assert Gst.ElementFactory.find(name), name
"""
USER, PASSWORD = "viewer", "s3cret-0815"
START_S = 20.0


@pytest.fixture(scope="module")
def gstreamer() -> None:
    """Skips where GStreamer's RTSP server is missing."""
    if not Path(PYTHON).exists():
        pytest.skip(f"there is no {PYTHON}, whose GStreamer would play the camera")
    found = subprocess.run([PYTHON, "-c", PROBE], capture_output=True, text=True, timeout=60)
    if found.returncode:
        reason = found.stderr.strip().splitlines()[-1:]
        pytest.skip(f"no RTSP server with H.264 here ({' '.join(reason)}); tools/install-test-packages installs it")


@pytest.fixture
def camera() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A camera in a process of its own, and its port."""
    server = subprocess.Popen([PYTHON, str(SERVER), USER, PASSWORD], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        ready, _, _ = select.select([server.stdout], [], [], START_S)
        assert ready, "the RTSP server does not start"
        yield server, int(server.stdout.readline())
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()


def rate_hz(frames: Sequence[Prediction]) -> float:
    """Of frames by the times at which they were captured."""
    span_s = (frames[-1].captured_monotonic_ns - frames[0].captured_monotonic_ns) / 1e9
    return (len(frames) - 1) / span_s


@pytest.mark.usefixtures("gstreamer")
def test_a_network_camera_is_live_until_it_goes_away(
    daemons: StartDaemon, camera: tuple[subprocess.Popen[str], int]
) -> None:
    server, port = camera
    address = f"127.0.0.1:{port}/camera"
    daemon = daemons(
        {
            "sources": [
                {"name": "camera", "uri": f"rtsp://{USER}:{PASSWORD}@{address}"},
                {"name": "refused", "uri": f"rtsp://{USER}:wrong@{address}"},
            ],
            "publish": {"wait_for_subscribers": 1},
        }
    ).start()
    with Watch(daemon) as watch:
        watch.until_count("camera", 30)
        frames = watch.predictions["camera"]
        assert {(each.frame.width, each.frame.height) for each in frames} == {(320, 240)}
        # Live means now: frames come as they are taken, not in bursts of what waited somewhere. Who has other things to
        # do loses some; then it is the next ones that tell.
        watch.until(lambda: rate_hz(frames[-20:]) == pytest.approx(25, rel=0.4), what="frames at the camera's pace")
        health = watch.until_health(lambda health: health.sources["refused"].state == "backoff", what="refusal")
        assert "check path, user and password" in health.sources["refused"].reason
        source = health.sources["camera"]
        assert (source.state, source.reason, source.decode) == ("live", "", "software")
        server.kill()
        watch.until_health(lambda health: health.sources["camera"].state == "backoff", what="notice that it is gone")
        assert daemon.stop().code == 0
        assert PASSWORD not in b"".join(watch.raw).decode() + daemon.output
    assert_ended_clean(daemon)
