# SPDX-License-Identifier: Apache-2.0
"""Generated pipelines: as text, and what GStreamer makes of them, with stand-ins for NVIDIA's elements."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.geometry import Placement, place
from edged.records import View
from edged.stages.capture.camera_options import CameraOptions
from edged.stages.capture.hardware import board
from edged.stages.capture.readers import pipelines
from edged.stages.capture.readers.pipelines import Pipeline, Size, decoding, device_size, quoted, rtsp_source

PYTHON = Path("/usr/bin/python3")
PLAYER = Path(__file__).resolve().parents[2] / "support" / "gst_player.py"
PROBE = """
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
for name in ("rtspsrc", "x264enc", "openh264dec", "parsebin", "matroskamux", "videoconvert"):
    assert Gst.ElementFactory.find(name), name
"""
HD = Size(1080, 1920)
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Asks GStreamer; skips where it is missing."""
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", PROBE], capture_output=True, timeout=60).returncode:
        pytest.skip("no GStreamer with H.264 for the system's Python; tools/install-test-packages installs it")
    with subprocess.Popen([PYTHON, PLAYER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as player:

        def asked(question: dict[str, Any]) -> dict[str, Any]:
            assert player.stdin is not None
            assert player.stdout is not None
            player.stdin.write(json.dumps(question) + "\n")
            player.stdin.flush()
            reply: dict[str, Any] = json.loads(player.stdout.readline())
            return reply

        yield asked
        player.kill()


def letterbox(size: Size = HD, view: View = View(), side: int = 640) -> Placement:  # noqa: B008 - a constant
    return place("letterbox", "center", size, (side, side), view)


def test_a_network_camera_on_a_jetson() -> None:
    source = rtsp_source("rtsp://admin:p%40ss@cam:8554/live?ch=1", "h265")
    (way,) = decoding(source, "h265", HD, "jetson", letterbox(), live=True)
    assert way.scaled
    assert way.text == (
        r'rtspsrc location="\"rtsp://cam:8554/live?ch=1\"" user-id="\"admin\"" user-pw="\"p@ss\""'
        " protocols=tcp latency=0 drop-on-latency=true tcp-timeout=5000000 ! rtph265depay ! h265parse"
        " ! nvv4l2decoder ! video/x-raw(memory:NVMM),width=1920,height=1080"
        " ! nvvidconv interpolation-method=1 ! video/x-raw,format=BGRx,width=640,height=360"
        " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )


def test_a_file_on_a_discrete_gpu() -> None:
    source = pipelines.file_source("/clips/a b.mkv", "h264")
    best, plain = decoding(source, "h264", HD, "discrete", letterbox(), live=False)
    begin = r'filesrc location="\"/clips/a b.mkv\"" ! parsebin ! h264parse ! nvh264dec ! '
    end = " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=false max-buffers=2 sync=false"
    assert best.text == (
        f"{begin}video/x-raw(memory:CUDAMemory),width=1920,height=1080 ! cudascale"
        " ! video/x-raw(memory:CUDAMemory),width=640,height=360 ! cudaconvert"
        f" ! video/x-raw(memory:CUDAMemory),format=BGRx ! cudadownload{end}"
    )
    assert plain.text == f"{begin}video/x-raw,width=1920,height=1080{end}"
    assert (best.scaled, plain.scaled) == (True, False)


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        (
            CameraOptions(),
            "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=30/1",
        ),
        (
            CameraOptions(width=1280, height=720, fps=59.94, exposure_ms=8.5, mode=3),
            'nvarguscamerasrc sensor-id=1 sensor-mode=3 exposuretimerange="8500000 8500000" ! '
            "video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=59940/1000",
        ),
    ],
)
def test_a_csi_camera(wanted: CameraOptions, source: str) -> None:
    native = pipelines.csi_size(wanted)
    way = pipelines.csi(1, wanted, letterbox(native))
    assert way.text == (
        f"{source} ! nvvidconv interpolation-method=1 ! video/x-raw,format=BGRx,width=640,height=360"
        " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )
    plain = pipelines.csi(1, wanted, None)
    assert " ! nvvidconv ! video/x-raw,format=BGRx ! " in plain.text
    assert not plain.scaled


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (letterbox(), Size(360, 640)),
        (letterbox(view=View(1)), Size(360, 640)),  # turned afterwards: 1080 x 1920 upright is 640 x 360 before
        (letterbox(view=View(0, (0, 0, 960, 1080))), None),
        (place("center-crop", "center", HD, (640, 640)), None),
        (letterbox(Size(720, 1280), side=99), Size(56, 100)),
        (letterbox(Size(360, 640)), None),
        (letterbox(Size(240, 320)), None),
    ],
)
def test_devices_scale_whole_pictures_down_to_even_sides(placement: Placement, expected: Size | None) -> None:
    assert device_size(placement) == expected


@pytest.mark.parametrize(("name", "codec"), [("h264", "h264"), ("hevc", "h265"), ("mjpeg", "mjpeg"), ("", "")])
def test_codecs(name: str, codec: str) -> None:
    assert pipelines.codec_of(name) == codec
    assert pipelines.can_decode(codec) == (codec in ("h264", "h265"))


@settings(deadline=None, max_examples=200)
@given(user=st.text(max_size=8), password=st.text(min_size=1, max_size=12), path=st.text(max_size=8))
def test_credentials_are_never_part_of_the_address_nor_of_what_is_shown(user: str, password: str, path: str) -> None:
    secret = f"{password}S3cr"
    url = f"rtsp://{quote(user, safe='')}:{quote(secret, safe='')}@[::1]:554/{quote(path)}"
    text = rtsp_source(url, "h264")
    location, *_ = text.split(" user-id=")
    assert "S3cr" not in location
    assert location.count("://[::1]:554/") == 1
    assert f"user-pw={quoted(secret)} protocols=tcp" in text
    assert "S3cr" not in repr(Pipeline("nvv4l2decoder", text, scaled=False))


def test_a_user_without_a_password() -> None:
    assert r'user-id="\"tok3n\"" user-pw="\"\""' in rtsp_source("rtsp://tok3n@cam/s", "h264")
    assert "user-" not in rtsp_source("rtsp://cam/s", "h264")


TEXTS = st.text(
    st.sampled_from("\"'\\ !()[]{}<>,;=%$#@:/?&*|~`^\t\n\r")
    | st.characters(exclude_categories=["Cs"], min_codepoint=1),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(value=TEXTS)
def test_gstreamer_reads_back_what_was_quoted(ask: Ask, value: str) -> None:
    assert ask({"set": ["filesrc", "location", quoted(value)]}) == {"value": value}


@settings(deadline=None, max_examples=100)
@given(value=TEXTS)
def test_a_password_can_begin_no_element(ask: Ask, value: str) -> None:
    assert ask({"set": ["rtspsrc", "user-pw", quoted(f"x ! filesink location=/{value}")]}) == {
        "value": f"x ! filesink location=/{value}"
    }


def _stand_in(text: str) -> str:
    """The pipeline with elements that every GStreamer has in the places of NVIDIA's."""
    for theirs, ours in (
        ("nvv4l2decoder", "openh264dec"),
        ("nvh264dec", "openh264dec"),
        ("(memory:NVMM)", ""),
        ("(memory:CUDAMemory)", ""),
        ("nvvidconv interpolation-method=1", "videoscale ! videoconvert"),
        ("nvvidconv", "videoconvert"),
        ("cudascale", "videoscale"),
        ("cudaconvert", "videoconvert"),
        ("cudadownload", "identity"),
    ):
        text = text.replace(theirs, ours)
    return text


def test_gstreamer_plays_what_is_generated(ask: Ask, tmp_path: Path) -> None:
    clip = tmp_path / 'a "clip"\\ of! mine = 1.mkv'
    ask({"clip": str(clip)})
    source, native = pipelines.file_source(str(clip), "h264"), Size(240, 320)
    for device in ("jetson", "discrete"):
        for side in (160, 999):
            for way in decoding(source, "h264", native, device, letterbox(native, side=side), live=False):
                done = ask({"play": _stand_in(way.text)})
                assert done["frames"] == 20, (way.text, done)
                assert "format=(string)BGR" in done["caps"]
                width = 160 if way.scaled else 320
                assert f"width=(int){width}, height=(int){width * 3 // 4}" in done["caps"]
    # A stream whose size is not what it was when the pipeline was made fails, instead of being squeezed.
    (way,) = decoding(source, "h264", Size(480, 640), "jetson", letterbox(Size(480, 640), side=160), live=False)
    # GStreamer's word on it may come after the end.
    done = ask({"play": _stand_in(way.text)})
    assert "error" in done or done == {"frames": 0, "caps": ""}


def test_boards(tmp_path: Path) -> None:
    assert board(tmp_path) is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert board(tmp_path) == "discrete"
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0")
    assert board(tmp_path) == "jetson"
