# SPDX-License-Identifier: Apache-2.0
"""Real RTSP cameras for tests: GStreamer's server, run by the system's Python.

    /usr/bin/python3 rtsp_server.py [USER PASSWORD]
    /usr/bin/python3 rtsp_server.py [USER PASSWORD] --clip FILE --fps 25 --cameras 3

Prints the port as soon as it listens, then serves ``rtsp://127.0.0.1:PORT/camera`` until it is killed: a test picture
as H.264. With a clip it serves ``/camera0``, ``/camera1``, … instead, which play a file (H.264 in Matroska or AVI)
round and round at the rate given, from wherever they are when somebody comes, as a camera would. A line ``clip FILE``
on its standard input makes them all play another one from the next frame on.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401 - versions come first; GstApp: pull_sample

# One slice a frame: the payloader repeats the parameter sets before each slice of a key frame, and a decoder takes what
# follows them for another frame.
TEST_PICTURE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max=12"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1"
)
# One access unit a buffer, stamped on arrival: what a camera's encoder hands to its network side.
PLAYED = (
    "appsrc name=frames is-live=true do-timestamp=true format=time max-buffers=8 leaky-type=downstream"
    " caps=video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1"
    " ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1"
)
READ = (
    'filesrc location="{path}" ! {demuxer} ! h264parse config-interval=-1'
    " ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=frames sync=false"
)


def access_units(path: str) -> list[bytes]:
    """All frames of a file, encoded as they are."""
    demuxer = "avidemux" if path.endswith(".avi") else "matroskademux"
    pipeline = Gst.parse_launch(READ.format(path=path, demuxer=demuxer))
    sink = pipeline.get_by_name("frames")
    pipeline.set_state(Gst.State.PLAYING)
    units = []
    while (sample := sink.pull_sample()) is not None:
        buffer = sample.get_buffer()
        units.append(buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)
    if not units:
        sys.exit(f"no H.264 in {path}")
    return units


class Film:
    """Hands the frames of a clip to everybody who watches, one a period, on a grid of absolute times."""

    def __init__(self, path: str, fps: int) -> None:
        self._units = access_units(path)
        self._fps = fps
        self._lock = threading.Lock()
        self._watched: list[Any] = []

    def watch(self, _factory: Any, media: Any) -> None:
        """Feed a stream that is about to be served; called by the server."""
        source = media.get_element().get_by_name("frames")
        with self._lock:
            self._watched.append(source)
        media.connect("unprepared", self._leave, source)

    def change(self, path: str) -> None:
        """Go on with another clip."""
        units = access_units(path)
        with self._lock:
            self._units = units

    def play(self) -> None:
        """Go on for ever."""
        start, number = time.monotonic(), 0
        while True:
            time.sleep(max(0.0, start + number / self._fps - time.monotonic()))
            with self._lock:
                watched, unit = list(self._watched), self._units[number % len(self._units)]
            for source in watched:
                source.emit("push-buffer", Gst.Buffer.new_wrapped(unit))
            number += 1

    def _leave(self, _media: Any, source: Any) -> None:
        with self._lock:
            self._watched.remove(source)


def guarded(server: Any, user: str, password: str) -> None:
    """Let only one user in."""
    access = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    access.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(access)


def camera(launch: str) -> Any:
    """A camera that plays a pipeline, the same for everybody who watches."""
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    allowed = GstRtspServer.RTSPPermissions.new()
    for permission in ("media.factory.access", "media.factory.construct"):
        allowed.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(allowed)
    return factory


def listen_to(film: Film) -> None:
    """Take commands from standard input."""
    for line in sys.stdin:
        command, _, value = line.strip().partition(" ")
        if command == "clip":
            film.change(value)


def main(arguments: argparse.Namespace) -> None:
    """Serve on a free port of the loopback interface."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    # A camera that starts waits for its first key frame: with one thread, all others would wait with it.
    server.get_thread_pool().set_max_threads(-1)
    if arguments.user:
        guarded(server, arguments.user, arguments.password)
    if arguments.clip:
        film = Film(arguments.clip, arguments.fps)
        for number in range(arguments.cameras):
            played = camera(PLAYED.format(fps=arguments.fps))
            played.connect("media-configure", film.watch)
            server.get_mount_points().add_factory(f"/camera{number}", played)
        for work in (film.play, lambda: listen_to(film)):
            threading.Thread(target=work, daemon=True).start()
    else:
        server.get_mount_points().add_factory("/camera", camera(TEST_PICTURE))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def parsed() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("user", nargs="?", default="")
    parser.add_argument("password", nargs="?", default="")
    parser.add_argument("--clip")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--cameras", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
