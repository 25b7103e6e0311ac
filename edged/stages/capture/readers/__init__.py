# SPDX-License-Identifier: Apache-2.0
"""Readers: open sources, one module for each kind."""

from __future__ import annotations

from edged.stages.capture.readers.base import Reader
from edged.stages.capture.uri import SourceUri


def open_reader(source: SourceUri, *, live: bool) -> Reader:
    """Open a source; may wait for as long as the kind of source has timeouts for.

    What a kind of source needs is imported only here: see `edged.stages.capture.readers.base.quiet_environment`.

    Args:
        source: as parsed.
        live: whether it is read in live mode.

    Returns:
        The open source.

    Raises:
        ReadFailedError: it cannot be opened.
    """
    if source.kind == "file":
        from edged.stages.capture.readers.video import VideoReader

        return VideoReader(source.target, live=live)
    if source.kind == "dir":
        from edged.stages.capture.readers.folder import FolderReader

        return FolderReader(source.target)
    if source.kind == "synthetic":
        from edged.stages.capture.readers.synthetic import ShapesReader

        return ShapesReader(source.options)
    return _open_stream(source, live=live)


def _open_stream(source: SourceUri, *, live: bool) -> Reader:
    if source.kind == "rtsp":
        from edged.stages.capture.readers.rtsp import RtspReader

        return RtspReader(source.target)
    if source.kind == "v4l2":
        from edged.stages.capture.readers.v4l2 import V4l2Reader

        return V4l2Reader(source.target)
    from edged.stages.capture.readers import gstreamer

    if source.kind == "csi":
        return gstreamer.open_csi(source.target)
    return gstreamer.GstreamerReader(source.target, live=live)
