# SPDX-License-Identifier: Apache-2.0
"""Reads the sensors in a thread of its own, so that a driver that does not answer stops nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from edged.monitor.readings import Reading

_LOG = logging.getLogger("edged")
_END_S = 0.5


class Sensors(Protocol):
    """What `edged.monitor.sensors.MachineSensors` is to this module."""

    def read(self) -> Reading:
        """One look at everything."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Lookout:
    """The newest reading, for whoever asks.

    A reading that is older than three intervals and 2 s is none: a driver that hangs makes the machine unknown, not
    steady. The thread is not waited for when it hangs; it ends with the process.

    Args:
        open_sensors: finds the sensors; called in the thread, since finding them may hang too.
        interval_s: between two readings, seconds.
        clock: monotonic seconds.

    Attributes:
        interval_s: may be changed; the thread follows after the interval that it is in.
    """

    def __init__(
        self, open_sensors: Callable[[], Sensors], interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_sensors = open_sensors
        self.interval_s = interval_s
        self._clock = clock
        self._newest: Reading | None = None
        self._told = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
        self._thread.start()

    @property
    def patience_s(self) -> float:
        """A reading older than this is none."""
        return 3 * self.interval_s + 2.0

    def newest(self) -> Reading | None:
        """The last reading; None where there is none, or where it is too old to say anything of now."""
        reading = self._newest
        if reading is None or self._clock() - reading.at > self.patience_s:
            return None
        return reading

    def close(self) -> None:
        """Read no more. Harmless twice."""
        self._end.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        sensors: Sensors | None = None
        due = self._clock()
        while not self._end.is_set():
            # The top of a thread: whatever a driver comes up with, the daemon goes on and the log has it, once.
            try:
                sensors = sensors or self._open_sensors()
                self._newest = sensors.read()
                self._told = ""
            except Exception as error:  # noqa: BLE001
                self._tell(error)
            due = max(due + self.interval_s, self._clock())
            self._end.wait(due - self._clock())
        if sensors is not None:
            sensors.close()

    def _tell(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._told:
            self._told = text
            _LOG.warning("the sensors cannot be read (%s); everything is unknown until they can", text)
