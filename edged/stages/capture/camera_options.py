# SPDX-License-Identifier: Apache-2.0
"""The options of device cameras: ``v4l2:///dev/video0?format=MJPG&size=1920x1080&fps=30&exposure=10`` and
``csi://0?size=1920x1080&fps=30&exposure=10&mode=2``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.stages.capture.options import Known, Values, number, parse_query, size, whole

MAX_SIDE = 16384
MAX_FPS = 1000.0
MAX_EXPOSURE_MS = 10_000.0
V4L2_FORM = "v4l2:///dev/video0?format=MJPG&size=1920x1080&fps=30&exposure=10"
CSI_FORM = "csi://0?size=1920x1080&fps=30&exposure=10&mode=2"


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What a device camera is asked for; None leaves it to the driver.

    Attributes:
        format: four-character code of the pixel format, upper case, for example ``MJPG``; v4l2 only.
        width: pixels; given together with ``height``.
        height: pixels.
        fps: frames per second.
        exposure_ms: exposure time, milliseconds; 0 for automatic.
        mode: index of the sensor's mode; csi only.
    """

    format: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    exposure_ms: float | None = None
    mode: int | None = None


def parse_v4l2(query: str, *, where: str) -> CameraOptions:
    """Read the options of a V4L2 camera.

    Raises:
        SettingsError: an option that is unknown, given twice, or out of bounds.
    """
    return CameraOptions(**parse_query(query, _V4L2, where=where, form=V4L2_FORM))


def parse_csi(query: str, *, where: str) -> CameraOptions:
    """Read the options of a CSI camera.

    Raises:
        SettingsError: an option that is unknown, given twice, or out of bounds.
    """
    return CameraOptions(**parse_query(query, _CSI, where=where, form=CSI_FORM))


def _format(text: str) -> Values:
    if re.fullmatch(r"[A-Za-z0-9]{4}", text) is None:
        raise ValueError("a pixel format of four letters or digits such as MJPG or YUYV")
    return {"format": text.upper()}


def _size(text: str) -> Values:
    width, height = size(text, 1, MAX_SIDE)
    return {"width": width, "height": height}


def _fps(text: str) -> Values:
    return {"fps": number(text, 0.0, MAX_FPS, f"a number above 0 and at most {MAX_FPS:g}")}


def _exposure(text: str) -> Values:
    if text == "auto":
        return {"exposure_ms": 0.0}
    what = f"milliseconds above 0 and at most {MAX_EXPOSURE_MS:g}, or auto"
    return {"exposure_ms": number(text, 0.0, MAX_EXPOSURE_MS, what)}


def _mode(text: str) -> Values:
    return {"mode": whole(text, 0, 99, "the number of a sensor mode, 0 to 99")}


_V4L2: Known = {"format": _format, "size": _size, "fps": _fps, "exposure": _exposure}
_CSI: Known = {"size": _size, "fps": _fps, "exposure": _exposure, "mode": _mode}
