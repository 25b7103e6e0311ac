# SPDX-License-Identifier: Apache-2.0
"""The supervisor's side of the verify process: its life, what it found, and when that is worth an event."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from msgspec import UNSET, UnsetType

from edged.errors import ConfigError
from edged.messages_stats import AgreementFigures, Verified
from edged.runtime.channel import Note
from edged.runtime.members import Member
from edged.runtime.plans import ChosenEngine
from edged.runtime.status import cpu_seconds
from edged.shm.sample import Sample
from edged.stages.verify.window import LONG, SHORT, Alarm, Figures, Window

_LOG = logging.getLogger("edged")
DEFAULT_BOUND = 95.0
"""Points, for engines whose build measured nothing."""
_QUIET_S = 60.0
_LONGEST_S = 1800.0
"""At idle priority a busy machine may leave next to no time, so a look may take long; without any CPU time it hangs."""
_LEAST_CPU_S = 0.001

Data = dict[str, int | float | str | bool]


class Announce(Protocol):
    """Logs and publishes an event."""

    def __call__(self, kind: str, source: str, severity: str, text: str, data: Data | None = None, /) -> None:
        """Tell everybody, once."""
        ...


class Verification:
    """Keeps a verify process, where `monitor.verify_every` asks for one. Nothing of the daemon depends on it.

    Args:
        every: one frame in so many; 0 for never.
        announce: logs and publishes an event.
        quiet_s: how long the process may have work and do nothing.
    """

    def __init__(self, every: int, announce: Announce, *, quiet_s: float = _QUIET_S) -> None:
        # Never `ready`: nobody waits for it, neither at the start nor at the end.
        self.member = Member("verify", "model")
        self.members = [self.member] if every else []
        self._every = every
        self._announce = announce
        self._quiet_s = quiet_s
        self._window = Window()
        self._alarm = Alarm(DEFAULT_BOUND)
        self._frames = 0
        self._empty = 0
        self._since: float | None = None
        self._told_down = False
        self._hung = ""
        self._idle_s = self._alive_s = time.monotonic()
        self._cpu_s = 0.0

    def begin(self, engine: ChosenEngine, reference: str) -> None:
        """Take note of what runs.

        Args:
            engine: of the daemon.
            reference: path of the prepared graph.
        """
        if not self._every:
            return
        self._alarm = Alarm(DEFAULT_BOUND if engine.agreement_bound is None else engine.agreement_bound)
        _LOG.info("one frame in %d of each source is compared with FP32, when there is time", self._every)
        if engine.path == reference:
            _LOG.info("the engine is the FP32 reference itself: they will agree, which proves the way and no more")

    def checked(self, note: Note) -> None:
        """Take in the outcome of one frame."""
        found = note.body
        now = time.monotonic()
        self._told_down = False
        self._idle_s = self._alive_s = now
        self._since = self._since or round(time.time(), 3)
        self._frames += 1
        if found["empty"]:
            self._empty += 1
            return
        self._window.add(found["points"], found["score_shift"])
        recent = self._window.last(SHORT)
        verdict = self._alarm.look(recent, now) if recent else None
        if recent and verdict:
            self._tell(verdict == "below", recent)

    def _tell(self, below: bool, recent: Figures) -> None:
        bound = self._alarm.bound
        data: Data = {"mean": round(recent.mean, 3), "worst": round(recent.worst, 3), "bound": bound}
        data["frames"] = recent.frames
        text = f"agreement with the FP32 reference is {recent.mean:.1f} points over the last {recent.frames} frames"
        if below:
            remedy = "look at what the cameras show, and build the engine again with frames of theirs"
            self._announce("accuracy", "", "warning", f"{text}, below the bound of {bound:g}; {remedy}", data)
        else:
            self._announce("accuracy-back", "", "info", f"{text}, above the bound of {bound:g} again", data)

    def died(self, how: str) -> None:
        """The process is gone: start another one after a while, unless that would be in vain."""
        member, now = self.member, time.monotonic()
        text = str(member.error) if member.error else self._hung or how
        self._hung = ""
        self._idle_s = self._alive_s = now
        if isinstance(member.error, ConfigError):
            self._announce("verify-off", "", "warning", f"nothing is compared with FP32: {text}")
            return
        delay = member.backoff.died(now)
        member.start_at = now + delay
        if not self._told_down:
            # Once, until it has worked again: the others go on, and nobody wants to hear it every half minute.
            self._told_down = True
            told = f"the verify process {text}; replaced in {delay:g} s"
            self._announce("process-replaced", "", "warning", told)

    def watch(self, samples: Sequence[Sample]) -> None:
        """End a process that has work and does nothing; call about once a second."""
        now = time.monotonic()
        if self.member.running is None or not any(sample.ready for sample in samples):
            self._idle_s = self._alive_s = now
            return
        handle = self.member.running[0]
        cpu_s = cpu_seconds(handle.pid)
        if abs(cpu_s - self._cpu_s) > _LEAST_CPU_S:
            self._alive_s, self._cpu_s = now, cpu_s
        if now - self._alive_s > self._quiet_s or now - self._idle_s > _LONGEST_S:
            self._hung = f"hung for {now - self._idle_s:.0f} s"
            handle.kill()

    def figures(self, samples: Sequence[Sample]) -> Verified | UnsetType:
        """What was found so far; unset where nothing is looked at."""
        if not self._every:
            return UNSET
        return Verified(
            every=self._every,
            frames=self._frames,
            empty=self._empty,
            skipped=sum(sample.skipped for sample in samples),
            unpublished=sum(sample.unpublished for sample in samples),
            last_100=_as_message(self._window.last(SHORT)),
            last_1000=_as_message(self._window.last(LONG)),
            bound=self._alarm.bound,
            below=self._alarm.below,
            since=self._since,
        )


def _as_message(found: Figures | None) -> AgreementFigures | None:
    if found is None:
        return None
    shift = None if found.score_shift is None else round(found.score_shift, 5)
    return AgreementFigures(
        frames=found.frames, mean=round(found.mean, 3), worst=round(found.worst, 3), score_shift=shift
    )
