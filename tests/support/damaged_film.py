# SPDX-License-Identifier: Apache-2.0
"""A film with holes: parts of some packets are lost, and the frames after them build on what is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 10
FRAMES = 60
SIZE = (192, 320)
"""Height, width."""
HIT = (22, 23, 41)
"""Frames that lose a part of their packets."""
DAMAGED = [*range(22, 30), *range(41, 50)]
"""Those, and what builds on them: every tenth frame is a key frame."""


def a_hole(data: bytes) -> bytes:
    """A quarter of the bytes, behind the middle, are zeros."""
    begin, end = len(data) // 2, len(data) * 3 // 4
    return data[:begin] + bytes(end - begin) + data[end:]


def nothing_left(data: bytes) -> bytes:
    """All bytes are zeros."""
    return bytes(len(data))


def make_damaged_film(
    path: Path,
    hit: Collection[int] = HIT,
    *,
    codec: str = "mpeg4",
    options: Mapping[str, str] | None = None,
    spoil: Callable[[bytes], bytes] = a_hole,
) -> Path:
    """Write a film in which a cloudy picture moves.

    Args:
        path: where to; its ending says the container.
        hit: packets that are spoiled, in the order in which they are decoded.
        codec: FFmpeg's name of the encoder; the default makes no frames that lie between two others.
        options: of the encoder.
        spoil: what happens to the bytes of those packets.
    """
    height, width = SIZE
    noise = np.random.default_rng(0).integers(0, 256, (height, width + 4 * FRAMES, 3), np.uint8)
    clouds: NDArray[np.uint8] = cv2.GaussianBlur(noise, (9, 9), 0).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.options = dict(options or {})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 10
        views = (np.ascontiguousarray(clouds[:, 4 * index : 4 * index + width]) for index in range(FRAMES))
        frames = [av.VideoFrame.from_ndarray(view, format="bgr24") for view in views]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        for index, packet in enumerate(packets):
            container.mux(_spoiled(packet, spoil) if index in hit else packet)
    return path


def _spoiled(packet: Any, spoil: Callable[[bytes], bytes]) -> Any:
    # Its type is generic in some versions of PyAV only.
    spoiled = av.Packet(spoil(bytes(packet)))
    spoiled.pts, spoiled.dts, spoiled.time_base = packet.pts, packet.dts, packet.time_base
    spoiled.stream, spoiled.is_keyframe = packet.stream, packet.is_keyframe
    return spoiled
