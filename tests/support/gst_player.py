# SPDX-License-Identifier: Apache-2.0
"""What GStreamer itself makes of pipelines: run by the system's Python, asked over standard input and output.

One JSON object a line, answered by one:

    {"set": [element, property, quoted value]}    → {"value": what the property became} or {"error": …}
    {"clip": path}                                → {} once a small H.264 clip lies there
    {"play": pipeline}                            → {"frames": n, "caps": of the last one} at its end, or {"error": …}
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 - the version comes first

CLIP = (
    "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency ! h264parse ! matroskamux ! filesink name=file"
)
LONGEST = 60 * Gst.SECOND


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question."""
    if "set" in question:
        element, name, text = question["set"]
        made = Gst.parse_launch(f"{element} name=it {name}={text} ! identity name=other")
        # The value has neither ended early nor begun another element.
        assert len(made.children) == 2, [child.get_name() for child in made.children]
        return {"value": made.get_by_name("it").get_property(name)}
    if "clip" in question:
        made = Gst.parse_launch(CLIP)
        made.get_by_name("file").set_property("location", question["clip"])
        made.set_state(Gst.State.PLAYING)
        made.get_bus().timed_pop_filtered(LONGEST, Gst.MessageType.EOS | Gst.MessageType.ERROR)
        made.set_state(Gst.State.NULL)
        return {}
    return play(question["play"])


def play(text: str) -> dict[str, Any]:
    """Play a pipeline that ends in an appsink."""
    made = Gst.parse_launch(text)
    sink = next(child for child in made.children if child.get_factory().get_name() == "appsink")
    made.set_state(Gst.State.PLAYING)
    frames, caps = 0, ""
    while (sample := sink.emit("try-pull-sample", LONGEST)) is not None:
        frames, caps = frames + 1, sample.get_caps().to_string()
    # The last word may come a moment after the last frame.
    last = made.get_bus().timed_pop_filtered(LONGEST, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    if last is not None and last.type == Gst.MessageType.EOS:
        last = made.get_bus().timed_pop_filtered(Gst.SECOND // 2, Gst.MessageType.ERROR)
    failure = last
    made.set_state(Gst.State.NULL)
    return {"error": failure.parse_error()[0].message} if failure else {"frames": frames, "caps": caps}


def main() -> None:
    """Answer until nobody asks any more."""
    Gst.init(None)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except (GLib.Error, AssertionError) as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
