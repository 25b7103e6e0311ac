# SPDX-License-Identifier: Apache-2.0
"""Stop requests: SIGTERM and SIGINT as a flag and a readable descriptor.

Imports next to nothing, because a signal that arrives before its handler stands kills the process: this module is the
first thing that ``edged run`` loads.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Set once by the first SIGTERM or SIGINT; readable from then on, so that a selector wakes.

    Attributes:
        requested: whether a stop was asked for.
        since_s: when this was made, at the very start of the program (monotonic seconds).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.requested = False
        self.since_s = time.monotonic()

    def fileno(self) -> int:
        """Descriptor that becomes readable when a stop is requested."""
        return self._read

    def request(self) -> None:
        """Ask for a stop; safe in a signal handler and more than once."""
        if not self.requested:
            self.requested = True
            os.write(self._write, b"!")

    def close(self) -> None:
        """Release the descriptors."""
        os.close(self._read)
        os.close(self._write)


def install() -> StopSignal:
    """Route SIGTERM and SIGINT to a new `StopSignal`; call from the main thread."""
    stop = StopSignal()

    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.request()

    for number in STOP_SIGNALS:
        signal.signal(number, handler)
    return stop
