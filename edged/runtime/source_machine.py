# SPDX-License-Identifier: Apache-2.0
"""The life of one source as a state machine. Pure: time and what the capture process is at are passed in.

    opening ──first frame──▶ live ◀──frames again── stalled
       │                      │ └──no frame for long──▶ │
       │ failed, died,        │ failed, died            │ still none: its process is killed
       ▼ too slow             ▼                         ▼
    backoff ◀─────────────────┴─────────────────────────┘      live ──its end──▶ ended
       └──first frame──▶ live                                  any  ──for good──▶ failed

Every change has a reason and is told once. A source that is tried again stays in ``backoff`` until frames come: a try
is no news. Only ``ended`` and ``failed`` are final.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edged.messages import SourceState
from edged.runtime.backoff import Retry
from edged.stages.capture.progress import Phase, Standing

Changed = Callable[[SourceState, str], None]
"""Called with every new state or reason."""

_OVERSLEPT_S = 1.0
_USUAL_TIMES = 3.0
_REPLACE_AFTER = 1.2
_ENOUGH_FRAMES = 4
_REFUSED_FIRST_S = 60.0
_REFUSED_KNOWN_S = 2.0
_REFUSED_LONGEST_S = 600.0
_DIED_LONGEST_S = 10.0
"""For processes that give no frame at all before they die."""
_UNKILLABLE_S = 5.0
_WAITS_S = 0.5 + _OVERSLEPT_S
"""Who waits says so twice a second, and may have slept as long as we may without noticing."""


class Order(Enum):
    """What is to be done about a source."""

    NOTHING = 0
    TRY = 1
    KILL = 2


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long is too long, seconds.

    Attributes:
        stall: without a frame, for a source that had some; a slow source gets three times its usual interval.
        first: without a frame since the source was opened, while its rate is not known.
        open: for a step of opening.
        start: from the start of the process until it begins to open.
        retry: longest wait between two tries.
    """

    stall: float = 1.5
    first: float = 10.0
    open: float = 15.0
    start: float = 60.0
    retry: float = 1.5


class SourceMachine:
    """State and reason of a source, and what to do next.

    Times are monotonic seconds.

    Args:
        deadlines: of the source.
        changed: told of every change.
        killable: whether its process can be killed: a thread cannot.
        chance: a number from 0 to 1, for waits that differ.

    Attributes:
        state: see `edged.messages.SourceHealth`.
        reason: why.
        retry_at: when to try again; None while there is nothing to try.
        due_at: when the next deadline ends, if nothing comes until then; None without one.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        changed: Changed,
        *,
        killable: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._deadlines = deadlines
        self._changed = changed
        self._killable = killable
        self._chance = chance
        self._retry = Retry(deadlines.retry, chance)
        self._deaths = Retry(max(deadlines.retry, _DIED_LONGEST_S), chance)
        self._refusals = self._patient(_REFUSED_FIRST_S)
        self.state: SourceState = "opening"
        self.reason = ""
        self.retry_at: float | None = None
        self.due_at: float | None = None
        self._trying_since: float | None = None
        self._live_since: float | None = None
        self._killed_at: float | None = None
        self._why = ""
        self._frames = self._frames_before = 0
        self._broken, self._broken_at = 0, 0.0
        self._distrusts_rate = False
        self._awake_since = 0.0
        self._looked_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("ended", "failed")

    @property
    def killed(self) -> bool:
        """Whether its process was ordered to be killed, and is not known to be dead."""
        return self._killed_at is not None

    # what happens ----------------------------------------------------------------------------------------------------

    def launched(self) -> None:
        """A new capture process runs; it has not been told what to do."""
        self.retry_at = None

    def begun(self, now: float) -> None:
        """The capture process was told to open the source."""
        self.retry_at = None
        self._trying_since = self._awake_since = now
        self._killed_at = None
        self._frames_before = self._frames

    def saw(self, now: float, frames: int) -> None:
        """Note how many frames have arrived since boot."""
        if frames > self._frames:
            self._frames = frames
            if self._trying_since is not None and not self.killed and self.state != "live" and not self.over:
                self._live_since = now if self._live_since is None else self._live_since
                # Credentials that were good are hardly wrong later on: perhaps the camera is still starting.
                self._refusals = self._patient(_REFUSED_KNOWN_S)
                self._set("live", "")

    def failed(self, now: float, reason: str, *, permanent: bool = False, refused: bool = False) -> None:
        """The capture process gave up.

        Args:
            now: the time.
            reason: why, as a clause.
            permanent: whether trying again is useless.
            refused: whether the camera wants other credentials, and should not be asked often.
        """
        if self.over:
            return
        if permanent:
            self.retry_at = self._trying_since = None
            self._set("failed", reason)
        else:
            self._back_off(now, reason, self._refusals if refused else self._retry)

    def died(self, now: float, how: str) -> None:
        """The capture process is gone, and reaped.

        Args:
            now: the time.
            how: as a clause, for example "the capture process was killed by signal 11".
        """
        if not self.over and (self._trying_since is not None or self.retry_at is None):
            if self.killed:
                # There was waiting enough before it was killed.
                self._back_off(now, self._why, None)
            else:
                self._back_off(now, how, self._deaths if self._live_since is None else self._retry)

    def ended(self) -> None:
        """Its end was reached."""
        self.retry_at = self._trying_since = None
        if not self.over:
            self._set("ended", "")

    def look(self, now: float, standing: Standing) -> Order:
        """Take in how the source stands; call it four times a second or so.

        Args:
            now: the time.
            standing: what its process is at.

        Returns:
            What to do: ``TRY`` (again: open the source, in a new process where the old one is gone) is said until it is
            `begun`; ``KILL`` once.
        """
        if self._looked_at is not None and now - self._looked_at > _OVERSLEPT_S:
            # We did not run, so perhaps nobody did: the machine was suspended, or had no time for us.
            self._awake_since = now
        self._looked_at = now
        self.due_at = None
        if self.over:
            return Order.NOTHING
        self.saw(now, standing.frames)
        if standing.broken != self._broken:
            self._broken, self._broken_at = standing.broken, now
        if self._trying_since is None:
            return Order.TRY if self.retry_at is not None and now >= self.retry_at else Order.NOTHING
        return self._judge(now, standing)

    # judgement -------------------------------------------------------------------------------------------------------

    def _judge(self, now: float, standing: Standing) -> Order:
        if self._killed_at is not None:
            if now - self._killed_at > _UNKILLABLE_S:
                self._set("stalled", "its capture process hangs and cannot be killed")
            return Order.NOTHING
        since = max(standing.since_s, self._awake_since)
        if standing.phase is Phase.WAITING:
            late = self._late(now, since + _WAITS_S)
            return self._kill(now, "the capture process hangs") if late else Order.NOTHING
        if standing.phase is Phase.EXPECTING:
            return self._judge_silence(now, since, standing.interval_s)
        opening = standing.phase is Phase.OPENING
        limit_s = self._deadlines.open if opening else self._deadlines.start
        what = "did not open" if opening else "the capture process did not start"
        return self._kill(now, f"{what} within {limit_s:g} s") if self._late(now, since + limit_s) else Order.NOTHING

    def _judge_silence(self, now: float, since: float, interval_s: float) -> Order:
        frames = self._frames - self._frames_before
        # The rate of the connection before is believed, unless it proved wrong: cameras are slower by night. Whoever
        # gave some frames has shown a rate anew, however that connection ended.
        self._distrusts_rate = self._distrusts_rate and frames < _ENOUGH_FRAMES
        known = interval_s > 0.0 and frames >= (_ENOUGH_FRAMES if self._distrusts_rate else 1)
        deadlines = self._deadlines
        limit_s = max(deadlines.stall, _USUAL_TIMES * interval_s) if known else max(deadlines.first, deadlines.stall)
        text = f"no frame for {limit_s:.2g} s"
        if self.state == "live" and self._late(now, since + limit_s):
            self._set("stalled", text)
        # While something comes that is no picture, another connection would hardly bring better.
        heard = min(max(since, self._broken_at), since + deadlines.first)
        if self.state == "live" or not self._late(now, heard + (_REPLACE_AFTER if known else 1.0) * limit_s):
            return Order.NOTHING
        self._distrusts_rate = self._distrusts_rate or 0 < frames < _ENOUGH_FRAMES
        return self._kill(now, text)

    def _late(self, now: float, deadline: float) -> bool:
        """Whether a deadline has passed; if not, it is when to look again."""
        if now <= deadline:
            self.due_at = deadline
        return now > deadline

    def _kill(self, now: float, why: str) -> Order:
        if not self._killable:
            return Order.NOTHING
        self._killed_at, self._why = now, why
        return Order.KILL

    def _back_off(self, now: float, reason: str, retry: Retry | None) -> None:
        ran_s = now - self._live_since if self._live_since is not None else 0.0
        self._live_since = self._trying_since = self._killed_at = None
        self.retry_at = now if retry is None else now + retry.after(ran_s)
        self._set("backoff", reason)

    def _patient(self, first_s: float) -> Retry:
        return Retry(_REFUSED_LONGEST_S, self._chance, first_s=first_s, at_once=False)

    def _set(self, state: SourceState, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._changed(state, reason)
