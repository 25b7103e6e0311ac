# SPDX-License-Identifier: Apache-2.0
"""Frames of a source, taken in a thread of their own, so that whoever waits for one can stop waiting at any time.

A read may hang for as long as a camera, a driver or a pipeline likes, and nothing but the end of the process ends it.
"""

from __future__ import annotations

import select
import threading
import time
from typing import Protocol

from edged.shm.wake import Wake
from edged.stages.capture.pacing import Pacer, RateCap
from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import DecodeError, Picture, Reader, ReadFailedError
from edged.stages.capture.uri import SourceUri

_CLOSE_S = 1.0
_DEFAULT_FPS = 30.0


class Descriptor(Protocol):
    """Becomes readable when a stop is asked for."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class StoppedError(Exception):
    """A stop was asked for."""


class EndedError(Exception):
    """The source has ended; what it failed with is its cause, if it did not just end."""


class SilentError(Exception):
    """No frame came in time."""


class Feed:
    """An open source.

    Lossless sources wait until a frame is taken. Live ones go on, at their own pace: what nobody waits for is dropped.

    Args:
        source: what to open; opening happens in the thread, too.
        live: whether it is read in live mode.
        fps: most frames to hand out of a live source, per second.

    Attributes:
        taken: frames that came so far, also broken and dropped ones.
        broken: frames that were no picture.
    """

    def __init__(self, source: SourceUri, *, live: bool, fps: float) -> None:
        self.taken = 0
        self.broken = 0
        self._source = source
        self._live = live
        self._cap = RateCap(fps)
        self._wake = Wake()
        self._change = threading.Condition()
        self._picture: tuple[int, Picture] | None = None
        self._end: BaseException | None = None
        self._closing = threading.Event()
        # A daemon, since a read that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float, stop: Descriptor | None = None) -> tuple[int, Picture]:
        """Wait for a frame; it belongs to the caller.

        Args:
            timeout_s: longest wait, seconds.
            stop: ends the wait at once when it becomes readable.

        Returns:
            Its number, from 0, and the frame.

        Raises:
            StoppedError: a stop was asked for.
            SilentError: no frame came in time.
            EndedError: the source ended, or failed: then its cause is a `ReadFailedError`.
        """
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        if stop is not None:
            poller.register(stop.fileno(), select.POLLIN)
        end = time.monotonic() + timeout_s
        while True:
            ready = [fd for fd, _ in poller.poll(max(0.0, end - time.monotonic()) * 1000)]
            if stop is not None and stop.fileno() in ready:
                raise StoppedError
            if not ready:
                raise SilentError
            self._wake.clear()
            with self._change:
                if self._picture is not None:
                    taken, self._picture = self._picture, None
                    if self._end is not None:
                        self._wake.set()
                    self._change.notify_all()
                    return taken
                if self._end is not None:
                    self._wake.set()
                    raise EndedError from self._end

    def close(self) -> None:
        """Let go of the source. A read that hangs is left behind and lets go when it returns."""
        self._closing.set()
        with self._change:
            self._change.notify_all()
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._wake.close()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read_all()
        except BaseException as caught:  # noqa: BLE001 - the top of the thread: it is raised again where frames are taken
            error = caught
        with self._change:
            # A source that just ended has no error; waiters need to see that there is an end.
            self._end = error if error is not None else _NoError()
            self._wake.set()

    def _read_all(self) -> None:
        reader = open_reader(self._source, live=self._live)
        try:
            pacer = self._pacer(reader)
            while not self._closing.is_set() and self._paced(pacer):
                try:
                    picture = reader.read()
                except DecodeError:
                    self.taken += 1
                    self.broken += 1
                    continue
                if picture is None:
                    return
                self.taken += 1
                self._offer(picture)
        finally:
            reader.close()

    def _pacer(self, reader: Reader) -> Pacer | None:
        """Scenes have no clock of their own: played live, they are paced by their rate."""
        if self._live and self._source.kind in ("file", "dir", "synthetic"):
            return Pacer(reader.fps or _DEFAULT_FPS)
        return None

    def _paced(self, pacer: Pacer | None) -> bool:
        """Wait for the next frame's time; False when the feed is closed meanwhile."""
        if pacer is None:
            return True
        now = time.monotonic_ns()
        return not self._closing.wait(max(0, pacer.due_ns(now) - now) / 1e9)

    def _offer(self, picture: Picture) -> None:
        with self._change:
            if self._live:
                if self._picture is not None or not self._cap.allow(picture.captured_ns):
                    return
            else:
                self._change.wait_for(lambda: self._picture is None or self._closing.is_set())
            own = Picture(picture.image.copy(), picture.captured_ns, picture.captured_at_ns, picture.file)
            self._picture = (self.taken - 1, own)
            self._wake.set()


class _NoError(Exception):
    """The cause of an end that is no failure."""


def failure(ended: EndedError) -> ReadFailedError | None:
    """Why a source failed; None where it just ended.

    Raises:
        BaseException: the thread met a bug.
    """
    cause = ended.__cause__
    if cause is None or isinstance(cause, _NoError):
        return None
    if isinstance(cause, ReadFailedError):
        return cause
    raise cause
