# SPDX-License-Identifier: Apache-2.0
"""Network cameras for tests and benchmarks: a film, GStreamer's server that plays it, and a bad network before it."""

from __future__ import annotations

import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.stages.capture.shapes import ShapesScene
from support.proxy import Proxy
from support.yolox import data_folder

PYTHON = "/usr/bin/python3"
START_S = 20.0
_HERE = Path(__file__).resolve().parent
_PROBE = """
import gi
for name in ("Gst", "GstApp"):
    gi.require_version(name, "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstApp, GstRtspServer
Gst.init(None)
for name in ("appsrc", "h264parse", "matroskamux", "rawvideoparse", "rtph264pay", "videotestsrc", "x264enc"):
    assert Gst.ElementFactory.find(name), name
"""


def missing() -> str:
    """Why there can be no cameras here; empty where there can."""
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON}, whose GStreamer would play the camera"
    found = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=60)
    if not found.returncode:
        return ""
    reason = " ".join(found.stderr.strip().splitlines()[-1:])
    return f"no RTSP server with H.264 here ({reason}); tools/install-test-packages installs it"


# films ---------------------------------------------------------------------------------------------------------------


REAL_VIDEO = data_folder() / "video" / "people-720p50.avi"


def _pictures(video: Path | None, count: int) -> Iterator[NDArray[Any]]:
    """Those of a video, else a synthetic scene; uint8 height×width×3, any size."""
    if video is None:
        scene = ShapesScene(7)
        yield from (scene.render(index) for index in range(count))
        return
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        while (read := capture.read())[0]:
            yield read[1]
    finally:
        capture.release()


def make_film(
    path: Path,
    size: tuple[int, int] = (640, 360),
    *,
    fps: int = 25,
    count: int = 100,
    video: Path | None = None,
) -> Path:
    """Encode a film with a key frame every second.

    Args:
        path: of the Matroska file to write.
        size: width and height, pixels.
        fps: frames a second.
        count: frames at the most.
        video: whose pictures to take; default: a synthetic scene.
    """
    command = [PYTHON, str(_HERE / "clip_encoder.py"), *map(str, size), str(fps), str(fps), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for picture in islice(_pictures(video, count), count):
            encoder.stdin.write(np.ascontiguousarray(cv2.resize(picture, size)).tobytes())
    assert encoder.returncode == 0, "the film cannot be encoded"
    return path


# servers -------------------------------------------------------------------------------------------------------------


class CameraServer:
    """One process that plays a film as one or more cameras.

    Args:
        film: H.264 in Matroska or AVI.
        fps: frames a second.
        cameras: how many; their paths are /camera0, /camera1, …
        login: user and password that everybody else is refused without.

    Attributes:
        port: where it listens.
        fps: frames a second.
    """

    def __init__(self, film: Path, *, fps: int = 25, cameras: int = 1, login: Sequence[str] = ()) -> None:
        self.fps = fps
        options = ["--clip", str(film), "--fps", str(fps), "--cameras", str(cameras)]
        command = [PYTHON, str(_HERE / "rtsp_server.py"), *login, *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        try:
            ready, _, _ = select.select([self._process.stdout], [], [], START_S)
            line = self._process.stdout.readline() if ready else ""
            assert line, "the RTSP server does not start"
            self.port = int(line)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def play(self, film: Path) -> None:
        """Go on with another film, in the middle of the stream."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"clip {film}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it with SIGKILL. Harmless twice."""
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Camera:
    """One camera behind a network of its own.

    Attributes:
        name: of its source.
        server: that plays it.
        proxy: in between.
    """

    def __init__(self, name: str, server: CameraServer | None, number: int = 0) -> None:
        self.name = name
        self.server = server
        self.proxy = Proxy(server.port if server else 0, seed=number)
        self._number = number

    def source(self, login: str = "", **settings: Any) -> dict[str, Any]:
        """Its section in the settings of the daemon.

        Args:
            login: ``user:password``, if any.
            settings: further keys.
        """
        at = f"{login}@" if login else ""
        uri = f"rtsp://{at}127.0.0.1:{self.proxy.port}/camera{self._number}"
        return {"name": self.name, "uri": uri, **settings}

    def connect(self, server: CameraServer) -> None:
        """Have another server play it."""
        self.server = server
        self.proxy.upstream = server.port

    def shut_down(self) -> None:
        """End its proxy, and whatever server it has now."""
        self.proxy.close()
        if self.server is not None:
            self.server.kill()


@contextmanager
def cameras(film: Path, *names: str, fps: int = 25) -> Iterator[list[Camera]]:
    """Cameras with a proxy each. The first has a server of its own, which may be killed; the others share one."""
    with ExitStack() as stack:
        alone = CameraServer(film, fps=fps)
        first = Camera(names[0], alone)
        stack.callback(first.shut_down)
        made = [first]
        if len(names) > 1:
            shared = CameraServer(film, fps=fps, cameras=len(names) - 1)
            stack.callback(shared.kill)
            made += [Camera(name, shared, number) for number, name in enumerate(names[1:])]
            for camera in made[1:]:
                stack.callback(camera.proxy.close)
        yield made


def build_sick_decoder(folder: Path) -> Path:
    """Compile the library that makes decoders hang and crash; see `sick_decoder.c`.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler")
    library = folder / "sick_decoder.so"
    source = str(_HERE / "sick_decoder.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], check=True)
    return library


if __name__ == "__main__":
    print(make_film(Path(sys.argv[1])))
