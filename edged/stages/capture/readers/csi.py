# SPDX-License-Identifier: Apache-2.0
"""Cameras on a Jetson's camera connector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edged.geometry import Placement
from edged.stages.capture.hardware import board
from edged.stages.capture.readers.base import ReadFailedError
from edged.stages.capture.readers.device import DeviceReader
from edged.stages.capture.readers.gstreamer import WITHOUT, has_gstreamer
from edged.stages.capture.readers.pipelines import csi, csi_size
from edged.stages.capture.uri import SourceUri

_FIRST_PICTURE_S = 10.0


def open_csi(
    source: SourceUri, placement: Callable[[int, int], Placement] | None = None, *, root: Path = Path("/")
) -> DeviceReader:
    """Open a CSI camera.

    Args:
        source: of kind ``csi``.
        placement: where a picture of a given height, width lies on the model input.
        root: where to look for the machine's device.

    Raises:
        ReadFailedError: this is no Jetson, OpenCV has no GStreamer, or the camera gives no picture.
    """
    if not has_gstreamer():
        raise ReadFailedError(f"csi:// needs GStreamer, but {WITHOUT}", permanent=True)
    if board(root) != "jetson":
        reason = "csi:// cameras are on a Jetson's camera connector, and this machine is no Jetson: use v4l2:// or gst:"
        raise ReadFailedError(reason, permanent=True)
    native = csi_size(source.camera)
    pipeline = csi(int(source.target), source.camera, None if placement is None else placement(*native))
    try:
        return DeviceReader(pipeline, native, live=True, within_s=_FIRST_PICTURE_S)
    except ReadFailedError as error:
        advice = "is it connected and configured, has it this size and rate, is nvargus-daemon up?"
        raise ReadFailedError(f"the camera {error}: {advice}") from error
