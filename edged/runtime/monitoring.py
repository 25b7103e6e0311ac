# SPDX-License-Identifier: Apache-2.0
"""The monitor in the supervisor: from shared memory and the sensors to messages, events and a lower load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from edged.config import MonitorSettings, Settings
from edged.messages_stats import Sustained, Window
from edged.monitor import told
from edged.monitor.governed import Governed
from edged.monitor.governor.loads import SmallerEngine
from edged.monitor.lookout import Lookout, Sensors
from edged.monitor.monitor import Look, Monitor
from edged.monitor.sensors import MachineSensors
from edged.runtime.briefing import Prepared
from edged.runtime.launch import Handle
from edged.runtime.members import Member
from edged.runtime.monitoring_work import Work, subject_of
from edged.runtime.rings import Rings
from edged.runtime.setup import SourceSetup
from edged.runtime.verify import Announce

LEDGER = "ledger"
_EARLY_S = 0.05
"""The supervisor turns once a second, give or take: a look that is due this soon is due."""
_P99_SHARE = 0.5
"""Of the age limit: the governor keeps the p99 below this part of it."""

UseEngine = Callable[[str | None], object]
"""Have another engine take over: its key in the store, or None for the configured one."""


class _Told(NamedTuple):
    thermal: dict[str, Any]
    windows: dict[str, Window]
    sustained: Sustained | UnsetType


class Monitoring:
    """Looks at the machine and the work once in `monitor.interval_s`, and does what follows from it.

    Nothing here waits: sensors and disk have threads of their own, and what they fail with is told, not raised.

    Args:
        settings: of the daemon.
        announce: logs and publishes an event.
        open_sensors: finds the sensors; default: those of this machine.
        use_engine: swaps engines; without it the governor has no smaller engine to turn to.
    """

    def __init__(
        self,
        settings: Settings,
        announce: Announce,
        *,
        open_sensors: Callable[[], Sensors] | None = None,
        use_engine: UseEngine | None = None,
    ) -> None:
        self._settings = settings.monitor
        self._folder: Path = settings.daemon.state_dir / LEDGER
        self._announce = announce
        self._open_sensors = open_sensors
        self.use_engine = use_engine
        self._bus_id = ""
        self._lookout: Lookout | None = None
        self._monitor: Monitor | None = None
        self._work = Work()
        self._told_caps: dict[str, tuple[Handle, float | None]] = {}
        self._engine: str | None = None
        self._next_s = self._looked_s = 0.0
        self._cache: _Told | None = None

    def gpu_at(self, bus_id: str) -> None:
        """Say where the GPU in use is, as infer knows it."""
        self._bus_id = bus_id

    def begin(self, sources: Sequence[SourceSetup], prepared: Prepared, engines: Sequence[SmallerEngine] = ()) -> None:
        """Begin to look; the sensors are found and read in a thread.

        Args:
            sources: as configured.
            prepared: what runs.
            engines: in the store, smaller than what runs.
        """
        governed = Governed(self._settings.governor)
        governed.engines = engines if self.use_engine is not None else ()
        subject = subject_of(sources, prepared)
        self._monitor = Monitor(self._folder, subject, self._settings.interval_s, governed)
        gpu = self._bus_id if prepared.engine.backend == "tensorrt" else None
        self._lookout = Lookout(self._open_sensors or partial(open_sensors, gpu), self._settings.interval_s)

    def take(self, settings: MonitorSettings) -> list[str]:
        """Go on with other settings; returns the keys that need a restart.

        Another mode of the governor begins at the configured load.
        """
        if settings.interval_s != self._settings.interval_s and self._monitor is not None and self._lookout is not None:
            self._monitor.pace(settings.interval_s)
            self._lookout.interval_s = settings.interval_s
        if settings.governor != self._settings.governor and self._monitor is not None:
            engines = self._monitor.governed.engines
            self._monitor.governed = Governed(settings.governor)
            self._monitor.governed.engines = engines
        self._cache = None
        restart = [] if settings.verify_every == self._settings.verify_every else ["monitor.verify_every"]
        self._settings = settings.model_copy(update={"verify_every": self._settings.verify_every})
        return restart

    @property
    def due_s(self) -> float:
        """When to look next, monotonic seconds; infinite while there is nothing to look at."""
        return self._next_s if self._monitor is not None else float("inf")

    def look(
        self, rings: Rings, sources: Sequence[SourceSetup], prepared: Prepared, captures: Sequence[Member], now: float
    ) -> None:
        """Look, if it is time to.

        Args:
            rings: shared memory; frame rings in the order of ``sources``.
            sources: as configured.
            prepared: what runs.
            captures: the capture processes.
            now: monotonic seconds.
        """
        monitor, lookout = self._monitor, self._lookout
        if monitor is None or lookout is None or now < self._next_s - _EARLY_S or now <= self._looked_s:
            return
        self._looked_s, self._cache = now, None
        self._next_s = max(self._next_s + self._settings.interval_s, now + 0.5 * self._settings.interval_s)
        if self._engine is None:
            monitor.work_on(subject_of(sources, prepared))
        monitor.governed.bound(self._work.bound_ms(sources, _P99_SHARE))
        done = self._work.since(rings, sources, now)
        look = Look(now, time.time(), lookout.newest(), *done)
        for each in monitor.look(look):
            self._announce(each.kind, "", each.severity, each.text, dict(each.data))
        self._apply(monitor.governed, captures)

    def _apply(self, governed: Governed, captures: Sequence[Member]) -> None:
        """Tell those that have to change something; a process that was replaced is told again."""
        caps = governed.caps
        for member in captures:
            if member.running is None or not member.ready:
                continue
            handle, fps = member.running[0], caps.get(member.name)
            told_to, known = self._told_caps.get(member.name, (handle, None))
            if (told_to is handle and known == fps) or (told_to is not handle and fps is None):
                continue
            if member.tell("cap", {"fps": fps}):
                self._told_caps[member.name] = (handle, fps)
        if self.use_engine is not None and governed.load.engine != self._engine:
            self._engine = governed.load.engine
            self.use_engine(self._engine)

    def thermal(self) -> dict[str, Any] | None:
        """``v1/thermal/`` without its envelope; None until there is something."""
        return self._told().thermal if self._monitor is not None else None

    def windows(self) -> dict[str, Window]:
        """For ``v1/stats/``."""
        return self._told().windows if self._monitor is not None else {}

    def sustained(self) -> Sustained | UnsetType:
        """For ``v1/stats/``."""
        return self._told().sustained if self._monitor is not None else UNSET

    def _told(self) -> _Told:
        """What there is to tell; figured out once after each look, however often it is told."""
        if self._cache is None:
            assert self._monitor is not None
            now, wall = time.monotonic(), time.time()
            self._cache = _Told(
                told.thermal(self._monitor, now, wall),
                told.windows(self._monitor, now),
                told.sustained(self._monitor, now),
            )
        return self._cache

    def close(self) -> None:
        """Look no more, and keep the minute that is running. Harmless twice."""
        if self._lookout is not None:
            self._lookout.close()
        if self._monitor is not None:
            self._monitor.close()
        self._lookout = self._monitor = None


def open_sensors(bus_id: str | None) -> Sensors:
    """The sensors of this machine.

    Args:
        bus_id: PCI address of the GPU in use, empty for the only one; None where none is used: NVML is not loaded then.
    """
    if bus_id is None:
        return MachineSensors()
    from edged.gpu.nvml import open_gpu

    return MachineSensors(open_gpu=lambda: open_gpu(bus_id))
