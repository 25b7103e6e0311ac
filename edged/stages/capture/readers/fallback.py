# SPDX-License-Identifier: Apache-2.0
"""Which decoder a file or a network camera gets: the device's where it works, else the CPU.

Whether a device decodes a stream shows only when it does: plug-ins are missing, or there and broken, or preroll and
never deliver. So the stream is opened by FFmpeg first, which says what is in it (and, where that fails, why); then the
device has to show a picture within a deadline; else FFmpeg has it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edged.geometry import Placement
from edged.stages.capture.hardware import Board, board
from edged.stages.capture.readers.base import PATIENT, Patience, Picture, Reader, ReadFailedError, ending_of
from edged.stages.capture.readers.device import FIRST_PICTURE_S, DeviceReader, Play, play
from edged.stages.capture.readers.ffmpeg import StreamFacts
from edged.stages.capture.readers.gstreamer import WITHOUT, has_gstreamer
from edged.stages.capture.readers.pipelines import (
    Pipeline,
    Size,
    can_decode,
    codec_of,
    decoding,
    file_source,
    rtsp_source,
)
from edged.stages.capture.uri import SourceUri

_NO_DEVICE = "there is no NVIDIA decoder on this machine"


class SoftwareReader(Reader, Protocol):
    """A reader over FFmpeg."""

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""


class Noted:
    """A reader with something to say, see `edged.stages.capture.readers.base.notes_of`."""

    def __init__(self, reader: Reader, notes: Sequence[str]) -> None:
        self.notes = tuple(notes)
        self._reader = reader
        self.decode = reader.decode
        self.fps = reader.fps
        # The methods themselves, so that nothing comes between the loop and its frames.
        self.read: Callable[[], Picture | None] = reader.read
        self.rewind: Callable[[], None] = reader.rewind
        self.close: Callable[[], None] = reader.close

    @property
    def ending(self) -> str:
        """How it ended, see `edged.stages.capture.readers.base.ending_of`."""
        return ending_of(self._reader)


class Machine(NamedTuple):
    """What there is to decode with.

    Attributes:
        board: whose decoder; None for none.
        gstreamer: whether OpenCV has GStreamer.
        play: plays a pipeline.
    """

    board: Board | None
    gstreamer: bool
    play: Play = play


class Wish(NamedTuple):
    """How a source is to be decoded.

    Attributes:
        decode: ``auto``, ``software`` or ``hardware``.
        live: whether the latest frame wins.
        placement: where a picture of a given height, width lies on the model input; None to leave pictures as they are.
        patience: told before each step that may take long.
        within_s: how long a device may take to show a picture, seconds.
        machine: what there is to decode with.
    """

    decode: str
    live: bool
    placement: Callable[[int, int], Placement] | None = None
    patience: Patience = PATIENT
    within_s: float = FIRST_PICTURE_S
    machine: Machine | None = None


def open_decoded(source: SourceUri, software: Callable[[], SoftwareReader], wish: Wish) -> Reader:
    """Open a file or a network camera with the decoder that works.

    Args:
        source: of kind ``file`` or ``rtsp``.
        software: opens it over FFmpeg.
        wish: how it is to be decoded.

    Returns:
        The open source; why it is not decoded by the device is in its notes, where there is one.

    Raises:
        ReadFailedError: it cannot be opened, or not in the way that is asked for.
    """
    if wish.decode == "software":
        return software()
    machine = wish.machine or Machine(board(), has_gstreamer())
    if machine.board is None:
        return _without_device(software, wish, _NO_DEVICE, worth_a_note=False)
    if not machine.gstreamer:
        # A Jetson is bought for its decoders; on a workstation an OpenCV without GStreamer is what everybody has.
        return _without_device(software, wish, WITHOUT, worth_a_note=machine.board == "jetson")
    return _try_device(source, software, wish, machine)


def _without_device(software: Callable[[], Reader], wish: Wish, why: str, *, worth_a_note: bool) -> Reader:
    if wish.decode == "hardware":
        raise ReadFailedError(f'decode = "hardware" is not possible: {why}', permanent=True)
    reader = software()
    return Noted(reader, [f"decoded by the CPU: {why}"]) if worth_a_note else reader


def _try_device(source: SourceUri, software: Callable[[], SoftwareReader], wish: Wish, machine: Machine) -> Reader:
    reader = software()
    facts = reader.facts
    codec, native = codec_of(facts.codec), Size(facts.height, facts.width)
    if not can_decode(codec) or min(native) < 1:
        what = f"the stream is {codec or 'of an unknown codec'}, and only h264 and h265 are decoded by the device"
        if wish.decode == "hardware":
            reader.close()
            raise ReadFailedError(f'decode = "hardware" is not possible: {what}', permanent=source.kind == "file")
        return Noted(reader, [f"decoded by the CPU: {what}"])
    # Let go of it before the device takes it: many cameras serve one or two clients only.
    reader.close()
    failures = []
    for pipeline in _pipelines(source, codec, native, machine, wish):
        wish.patience.step()
        try:
            return DeviceReader(pipeline, native, live=_endless(source), within_s=wish.within_s, play=machine.play)
        except ReadFailedError as error:
            failures.append(f"{pipeline.how} {error}")
    why = "; ".join(failures)
    if wish.decode == "hardware":
        raise ReadFailedError(f'decode = "hardware": {why}')
    return Noted(software(), [f"decoded by the CPU, for the device failed: {why}"])


def _pipelines(source: SourceUri, codec: str, native: Size, machine: Machine, wish: Wish) -> list[Pipeline]:
    text = rtsp_source(source.target, codec) if source.kind == "rtsp" else file_source(source.target, codec)
    placement = None if wish.placement is None else wish.placement(native.height, native.width)
    # A file played live is paced by the capture loop; a pipeline that drops frames would run through it at once.
    return decoding(text, codec, native, machine.board or "discrete", placement, live=_endless(source))


def _endless(source: SourceUri) -> bool:
    return source.kind == "rtsp"
