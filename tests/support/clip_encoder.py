# SPDX-License-Identifier: Apache-2.0
"""Encodes pictures as H.264 for the cameras of the tests, with GStreamer, run by the system's Python.

    /usr/bin/python3 clip_encoder.py WIDTH HEIGHT FPS KEY_FRAME_EVERY FILE.mkv < pictures

The pictures come as raw bytes, blue-green-red, one after the other.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402 - versions come first

# One slice a frame: see rtsp_server.py.
PIPELINE = (
    "fdsrc fd=0 ! rawvideoparse format=bgr width={width} height={height} framerate={fps}/1 ! videoconvert"
    " ! x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max={every} bitrate={kbit}"
    ' ! h264parse ! matroskamux ! filesink location="{path}"'
)
_BITS_PER_PIXEL = 0.1


def main(width: int, height: int, fps: int, every: int, path: str) -> None:
    """Encode all that comes."""
    Gst.init(None)
    kbit = max(100, int(width * height * fps * _BITS_PER_PIXEL / 1000))
    pipeline = Gst.parse_launch(PIPELINE.format(width=width, height=height, fps=fps, every=every, kbit=kbit, path=path))
    pipeline.set_state(Gst.State.PLAYING)
    over = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, over)
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(str(message.parse_error()))


if __name__ == "__main__":
    given = list(map(int, sys.argv[1:5]))
    main(given[0], given[1], given[2], given[3], sys.argv[5])
