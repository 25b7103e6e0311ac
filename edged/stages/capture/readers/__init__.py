# SPDX-License-Identifier: Apache-2.0
"""Readers: open sources, one module for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edged.geometry import Placement
from edged.stages.capture.readers.base import PATIENT, Patience, Reader, ReadFailedError
from edged.stages.capture.uri import SourceUri

if TYPE_CHECKING:
    from edged.stages.capture.readers.fallback import SoftwareReader

PlacementOf = Callable[[int, int], Placement]


def open_reader(
    source: SourceUri,
    *,
    live: bool,
    decode: str = "auto",
    placement: PlacementOf | None = None,
    patience: Patience = PATIENT,
) -> Reader:
    """Open a source; may wait for as long as the kind of source has timeouts for.

    What a kind of source needs is imported only here: see `edged.stages.capture.readers.base.quiet_environment`.

    Args:
        source: as parsed.
        live: whether it is read in live mode.
        decode: ``auto``, ``software`` or ``hardware``.
        placement: where a picture of a given height, width lies on the model input, so that a device can scale it;
            None where nothing is known of a model.
        patience: how long to wait, where the kind of source lets one choose.

    Returns:
        The open source.

    Raises:
        ReadFailedError: it cannot be opened.
    """
    if source.kind in ("file", "rtsp"):
        return _open_stream(source, live=live, decode=decode, placement=placement, patience=patience)
    if source.kind in ("csi", "gst"):
        return _open_pipeline(source, live=live, placement=placement)
    if decode == "hardware":
        what = f"pictures of {source.kind}:// sources are made by the CPU: leave decode out"
        raise ReadFailedError(f'decode = "hardware" is not possible: {what}', permanent=True)
    return _open_other(source, live=live)


def _open_stream(
    source: SourceUri, *, live: bool, decode: str, placement: PlacementOf | None, patience: Patience
) -> Reader:
    def software() -> SoftwareReader:
        if source.kind == "rtsp":
            from edged.stages.capture.readers.rtsp import RtspReader

            return RtspReader(source.target, patience, live=live)
        from edged.stages.capture.readers.video import VideoReader

        return VideoReader(source.target, live=live)

    if decode == "software":
        return software()
    from edged.stages.capture.readers.fallback import Wish, open_decoded

    return open_decoded(source, software, Wish(decode, live, placement, patience))


def _open_pipeline(source: SourceUri, *, live: bool, placement: PlacementOf | None) -> Reader:
    if source.kind == "csi":
        from edged.stages.capture.readers.csi import open_csi

        return open_csi(source, placement)
    from edged.stages.capture.readers.gstreamer import GstreamerReader

    return GstreamerReader(source.target, live=live)


def _open_other(source: SourceUri, *, live: bool) -> Reader:
    if source.kind == "dir":
        from edged.stages.capture.readers.folder import FolderReader

        return FolderReader(source.target)
    if source.kind == "synthetic":
        from edged.stages.capture.readers.synthetic import ShapesReader

        return ShapesReader(source.options)
    from edged.stages.capture.readers.v4l2 import V4l2Reader

    return V4l2Reader(source.target, source.camera, live=live)
