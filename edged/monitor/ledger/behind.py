# SPDX-License-Identifier: Apache-2.0
"""Appends lines in a thread of its own: a disk that stalls stops nobody."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from pathlib import Path

from edged.monitor.ledger.segments import append

_MOST = 8
"""Lines that wait. One comes a minute: a disk that has not taken eight does not answer."""
_END_S = 0.5


class Behind:
    """In place of `edged.monitor.ledger.segments.append`.

    What fails is raised by the next call, so that each failure is told of once, a line late.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[Path, bytes]] = deque()
        self._failed: deque[OSError] = deque(maxlen=_MOST)
        self._change = threading.Condition()
        self._ended = False
        # From the start, not with the first line: a family whose threads grow in number after a minute looks leaky.
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def __call__(self, folder: Path, line: bytes) -> None:
        """Have a line appended.

        Raises:
            OSError: an earlier one was not, or too many wait.
        """
        with self._change:
            if len(self._lines) >= _MOST:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._lines.append((folder, line))
            self._change.notify_all()
            if self._failed:
                raise self._failed.popleft()

    def flush(self, patience_s: float = _END_S) -> bool:
        """Wait until all is written, or for some time; whether it is."""
        with self._change:
            return self._change.wait_for(lambda: not self._lines, patience_s)

    def close(self) -> None:
        """Write what waits, if that is quick, and end."""
        self.flush()
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._lines or self._ended)
                if self._ended:
                    return
                folder, line = self._lines[0]
            try:
                append(folder, line)
            except OSError as error:
                self._failed.append(error)
            with self._change:
                self._lines.popleft()
                self._change.notify_all()
