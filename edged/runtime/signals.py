# SPDX-License-Identifier: Apache-2.0
"""Requests by signal: SIGTERM and SIGINT to stop, SIGHUP to read the settings again; flags and readable descriptors.

Imports next to nothing, because a signal that arrives before its handler stands kills the process: this module is the
first thing that ``edged run`` loads.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GROUP_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)
"""What reaches a whole process group, say from a terminal: meant for the supervisor, not for its children."""
STACKS_SIGNAL = signal.SIGUSR2
"""Makes a child write the stacks of all its threads to standard error."""


class StopSignal:
    """Set once by the first SIGTERM or SIGINT; readable from then on, so that a selector wakes.

    Attributes:
        requested: whether a stop was asked for.
        since_s: when this was made, at the very start of the program (monotonic seconds).
        hangup: the request to read the settings again.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.requested = False
        self.since_s = time.monotonic()
        self.hangup = Hangup()

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
        self.hangup.close()


class Hangup:
    """Set by SIGHUP and unset by `take`; readable in between. Several signals before a look are one request."""

    def __init__(self) -> None:
        self._fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._requested = False

    def fileno(self) -> int:
        """Descriptor that is readable while a request waits."""
        return self._fd[0]

    def request(self) -> None:
        """Ask for the settings to be read again; safe in a signal handler."""
        if not self._requested:
            self._requested = True
            os.write(self._fd[1], b"!")

    def take(self) -> bool:
        """Whether it was asked for since the last look."""
        if not self._requested:
            return False
        # In this order: a signal that comes in between counts for this request or makes another, and is never lost.
        os.read(self._fd[0], 1)
        self._requested = False
        return True

    def close(self) -> None:
        """Release the descriptors."""
        for fd in self._fd:
            os.close(fd)


def install() -> StopSignal:
    """Route SIGTERM, SIGINT and SIGHUP to a new `StopSignal`; call from the main thread.

    On a terminal SIGHUP asks for a stop: it says that the terminal is gone.
    """
    stop = StopSignal()
    on_terminal = os.isatty(0)

    def handler(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not on_terminal:
            stop.hangup.request()
        else:
            stop.request()

    for number in GROUP_SIGNALS:
        signal.signal(number, handler)
    return stop
