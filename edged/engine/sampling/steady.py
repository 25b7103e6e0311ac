# SPDX-License-Identifier: Apache-2.0
"""A camera that is opened again when it fails after its first frame, until it has been silent for too long."""

from __future__ import annotations

import select
import time

from edged.engine.sampling.feed import Descriptor, EndedError, Feed, SilentError, StoppedError, failure
from edged.errors import DeviceUnavailableError, EdgedError, SourceError
from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.uri import SourceUri, check_exists

_RETRY_S = 1.0


class SteadySource:
    """Frames of a source.

    Args:
        source: as parsed.
        live: whether it is read in live mode; only then it is opened again.
        fps: most frames to hand out of a live source, per second.
        patience_s: longest time without a frame, seconds.
        stop: ends every wait at once when it becomes readable.

    Raises:
        SourceError: a file or folder that is not there.
    """

    def __init__(
        self, source: SourceUri, *, live: bool, fps: float, patience_s: float, stop: Descriptor | None = None
    ) -> None:
        check_exists(source)
        self._source = source
        self._live = live
        self._fps = fps
        self._patience_s = patience_s
        self._stop = stop
        self._reason = ""
        self._before = (0, 0)
        self._any = False
        self._last = time.monotonic()
        self._feed = Feed(source, live=live, fps=fps)

    @property
    def taken(self) -> int:
        """Frames that came so far, also broken and dropped ones."""
        return self._before[0] + self._feed.taken

    @property
    def broken(self) -> int:
        """Frames that were no picture."""
        return self._before[1] + self._feed.broken

    def take(self, timeout_s: float) -> tuple[int, Picture] | None:
        """Wait for a frame; it belongs to the caller.

        Args:
            timeout_s: longest wait, seconds.

        Returns:
            Its number, from 0, and the frame; None where none came in time.

        Raises:
            EndedError: the source has ended.
            StoppedError: a stop was asked for.
            DeviceUnavailableError: a camera failed, or was silent for too long.
            SourceError: a file or folder that cannot be read.
        """
        try:
            number, picture = self._feed.take(timeout_s, self._stop)
        except SilentError:
            if time.monotonic() - self._last > self._patience_s:
                raise self._silent() from None
            return None
        except EndedError as ended:
            reason = failure(ended)
            if reason is None:
                raise
            self._again(reason)
            return None
        self._last = time.monotonic()
        self._any = True
        return self._before[0] + number, picture

    def close(self) -> None:
        """Let go of the source."""
        self._feed.close()

    def _again(self, reason: ReadFailedError) -> None:
        """Open the source again after a pause, unless that is no use."""
        # Before the first frame it is most likely the address that is wrong, and nobody wants to wait to hear that.
        if reason.permanent or not self._live or not self._any:
            raise self._failed(str(reason))
        self._reason = str(reason)
        if time.monotonic() + _RETRY_S - self._last > self._patience_s:
            raise self._silent()
        self._before = (self.taken, self.broken)
        self._feed.close()
        self._pause(_RETRY_S)
        self._feed = Feed(self._source, live=self._live, fps=self._fps)

    def _pause(self, seconds: float) -> None:
        poller = select.poll()
        if self._stop is not None:
            poller.register(self._stop.fileno(), select.POLLIN)
        if poller.poll(seconds * 1000):
            raise StoppedError

    def _silent(self) -> EdgedError:
        return self._failed(f"no frame came within {self._patience_s:g} s" + (self._reason and f" ({self._reason})"))

    def _failed(self, what: str) -> EdgedError:
        if self._source.on_disk:
            return SourceError(what, where=self._source.shown, remedy="check the path of this source")
        return DeviceUnavailableError(
            what,
            where=self._source.shown,
            remedy="check the camera" + (", then run this again: frames kept so far are not lost" if self._any else ""),
        )
