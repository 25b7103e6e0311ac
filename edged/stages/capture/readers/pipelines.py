# SPDX-License-Identifier: Apache-2.0
"""GStreamer pipelines that decode on the device, as text. Pure, so that they can be read, tested and compared.

Everything that comes from outside (addresses, passwords, file names) stands in quotes that GStreamer's parser takes
back exactly, so that it can neither end a property nor begin an element.

Facts: `nvv4l2decoder`, `nvvidconv` and `nvarguscamerasrc` are NVIDIA's for Jetson and work in NVMM memory; `nvvidconv`
takes ``interpolation-method=1`` for bilinear (its default is the nearest pixel). `nvh264dec`, `nvh265dec`, `cudascale`,
`cudaconvert` and `cudadownload` belong to GStreamer's own nvcodec plugin (gst-plugins-bad, the latter since 1.20).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from edged.geometry import Placement
from edged.stages.capture.camera_options import CameraOptions
from edged.stages.capture.hardware import Board

CSI_SIZE = (1080, 1920)
CSI_FPS = 30.0
_CODECS = ("h264", "h265")
_TO_APPSINK = "videoconvert ! video/x-raw,format=BGR ! "
# One frame, the newest: what is not taken in time makes room. Lossless ones wait instead.
_LIVE_SINK = "appsink drop=true max-buffers=1 sync=false"
_LOSSLESS_SINK = "appsink drop=false max-buffers=2 sync=false"


class Size(NamedTuple):
    """Height and width, pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way to decode a source.

    Attributes:
        how: which elements do it, for people.
        text: what GStreamer plays. It holds credentials: never show it.
        scaled: whether the device scales what the model sees.
    """

    how: str
    text: str
    scaled: bool

    def __repr__(self) -> str:
        return f"Pipeline({self.how!r})"


def codec_of(name: str) -> str:
    """A codec by the name that GStreamer's elements have: FFmpeg's, but ``h265`` for HEVC."""
    return "h265" if name == "hevc" else name


def can_decode(codec: str) -> bool:
    """Whether there are pipelines for a codec."""
    return codec in _CODECS


def quoted(value: str) -> str:
    """A value of a property, whatever is in it.

    GStreamer unescapes twice: once as a part of the pipeline, once as a value; the inner quotes are for the second.
    """
    for _ in range(2):
        value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value


def rtsp_source(url: str, codec: str) -> str:
    """From a network camera to a parsed stream. The credentials are properties, not part of the address."""
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    properties = [f"location={quoted(bare)}"]
    if parts.username is not None:
        properties += [f"user-id={quoted(unquote(parts.username))}", f"user-pw={quoted(unquote(parts.password or ''))}"]
    # No jitter buffer, which TCP needs none of; frames that are late all the same are dropped.
    properties += ["protocols=tcp", "latency=0", "drop-on-latency=true", "tcp-timeout=5000000"]
    return f"rtspsrc {' '.join(properties)} ! rtp{codec}depay ! {codec}parse"


def file_source(path: str, codec: str) -> str:
    """From a file of any container to a parsed stream; streams of other kinds in it find no taker."""
    return f"filesrc location={quoted(path)} ! parsebin ! {codec}parse"


def decoding(
    source: str, codec: str, native: Size, board: Board, placement: Placement | None, *, live: bool
) -> list[Pipeline]:
    """Ways to decode a stream on the device, best first.

    The size is fixed where the decoder hands its frames over: where the stream changes it, the pipeline fails and is
    made anew, instead of squeezing another picture into the size of the first.

    Args:
        source: up to the parsed stream.
        codec: ``h264`` or ``h265``.
        native: size of the stream's pictures.
        board: whose elements to use.
        placement: where the picture lies on the model input; None to leave the size as it is.
        live: whether the latest frame wins.
    """
    sink = _TO_APPSINK + (_LIVE_SINK if live else _LOSSLESS_SINK)
    scaled = None if placement is None else device_size(placement)
    make = _jetson if board == "jetson" else _discrete
    return make(source, codec, native, scaled, sink)


def device_size(placement: Placement) -> Size | None:
    """What the device is to scale pictures to; None where it is not to.

    It scales whole pictures only, and never up: enlarged ones would only take longer to hand over. Sides are even, as
    scalers want them; the odd pixel is the CPU's.
    """
    if placement.crop != (0, 0, placement.source[1], placement.source[0]):
        return None
    height, width = (side + side % 2 for side in placement.drawn)
    if height > placement.source[0] or width > placement.source[1] or (height, width) == placement.source:
        return None
    return Size(height, width)


def csi(sensor: int, wanted: CameraOptions, placement: Placement | None) -> Pipeline:
    """The pipeline of a camera on a Jetson's connector, through its image signal processor.

    Args:
        sensor: its number.
        wanted: what it is asked for; size and rate that are not given are `CSI_SIZE` and `CSI_FPS`.
        placement: where a picture of that size lies on the model input; None to leave it as it is.
    """
    native = csi_size(wanted)
    properties = [f"sensor-id={sensor}"]
    if wanted.mode is not None:
        properties.append(f"sensor-mode={wanted.mode}")
    if wanted.exposure_ms:
        nanoseconds = round(wanted.exposure_ms * 1e6)
        properties.append(f'exposuretimerange="{nanoseconds} {nanoseconds}"')
    rate = _fraction(wanted.fps or CSI_FPS)
    source = (
        f"nvarguscamerasrc {' '.join(properties)} ! "
        f"video/x-raw(memory:NVMM),format=NV12,width={native.width},height={native.height},framerate={rate}"
    )
    scaled = None if placement is None else device_size(placement)
    text = f"{source} ! {_nvvidconv(scaled)} ! {_TO_APPSINK}{_LIVE_SINK}"
    return Pipeline("nvarguscamerasrc", text, scaled is not None)


def csi_size(wanted: CameraOptions) -> Size:
    """The picture size that a CSI camera gives."""
    return Size(wanted.height or CSI_SIZE[0], wanted.width or CSI_SIZE[1])


def _jetson(source: str, codec: str, native: Size, scaled: Size | None, sink: str) -> list[Pipeline]:
    del codec  # the decoder finds out by itself
    fixed = f"video/x-raw(memory:NVMM),width={native.width},height={native.height}"
    text = f"{source} ! nvv4l2decoder ! {fixed} ! {_nvvidconv(scaled)} ! {sink}"
    return [Pipeline("nvv4l2decoder", text, scaled is not None)]


def _discrete(source: str, codec: str, native: Size, scaled: Size | None, sink: str) -> list[Pipeline]:
    decoder, fixed = f"nv{codec}dec", f"width={native.width},height={native.height}"
    ways = [Pipeline(decoder, f"{source} ! {decoder} ! video/x-raw,{fixed} ! {sink}", False)]
    if scaled is not None:
        memory = "video/x-raw(memory:CUDAMemory)"
        smaller = f"{memory},width={scaled.width},height={scaled.height}"
        convert = f"cudascale ! {smaller} ! cudaconvert ! {memory},format=BGRx ! cudadownload"
        text = f"{source} ! {decoder} ! {memory},{fixed} ! {convert} ! {sink}"
        ways.insert(0, Pipeline(f"{decoder} and cudascale", text, True))
    return ways


def _nvvidconv(scaled: Size | None) -> str:
    if scaled is None:
        return "nvvidconv ! video/x-raw,format=BGRx"
    return f"nvvidconv interpolation-method=1 ! video/x-raw,format=BGRx,width={scaled.width},height={scaled.height}"


def _fraction(fps: float) -> str:
    """A rate as GStreamer writes it, to a thousandth."""
    return f"{round(fps)}/1" if fps == round(fps) else f"{round(fps * 1000)}/1000"
