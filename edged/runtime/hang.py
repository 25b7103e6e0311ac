# SPDX-License-Identifier: Apache-2.0
"""Processes that live and do nothing: infer and publish are ended when work waits for them and they do not move.

What is looked at lies in shared memory and is read without locks, so that a process that was stopped with a lock in
hand keeps nobody from seeing it. A moment that the supervisor itself has slept through (a machine that was suspended)
counts for next to nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from edged.runtime.members import Member
from edged.runtime.rings import Rings
from edged.runtime.watchdog import ask_for_stacks, thread_states
from edged.shm.board import INFER_ROW, INFER_STAGES, PUBLISH_ROW, PUBLISH_STAGES, Row
from edged.shm.frame_table import STALE

_LOG = logging.getLogger("edged")
EVERY_S = 0.25
"""How often to look."""
INFER_S, PUBLISH_S = 1.5, 0.75
"""Shortest time without progress that counts as hanging."""
_INFER_BATCHES, _PUBLISH_BATCHES = 10, 20
"""The same in batches, where these take long."""
_STARVED = 5
"""Times as long for a process that wants to run: it may only be waiting for its turn."""
_LAST_WORDS_S = 0.1
START_S = {"infer": 300.0, "publish": 15.0}
"""Longest that one that replaces another may take until it works."""


class _Progress:
    """One process's work, from look to look.

    Attributes:
        quiet_s: how long there was work and none of it was done.
        end_s: when to end the process (monotonic seconds), once that is decided.
    """

    def __init__(self) -> None:
        self._mark: tuple[int, ...] = ()
        self.quiet_s = 0.0
        self.end_s: float | None = None

    def look(self, mark: tuple[int, ...], owed: bool, passed_s: float) -> None:
        """Take note of counters that move with the work, and of whether there is any."""
        if mark != self._mark or not owed:
            self._mark, self.quiet_s, self.end_s = mark, 0.0, None
        else:
            self.quiet_s += min(passed_s, 2 * EVERY_S)


class HangWatch:
    """Ends an infer or publish process that hangs; that it is gone, the supervisor notices as always.

    Args:
        infer: the process that infers.
        publish: the process that publishes.
    """

    def __init__(self, infer: Member, publish: Member) -> None:
        self._infer, self._publish = infer, publish
        self._progress = {"infer": _Progress(), "publish": _Progress()}
        self._last_s = 0.0
        self._next_s = 0.0

    def due(self) -> float:
        """When to look next (monotonic seconds)."""
        return self._next_s

    def look(self, rings: Rings, max_delay_ns: int, now: float) -> None:
        """Look; ends who hangs.

        Args:
            rings: of the daemon.
            max_delay_ns: longest a frame waits for company.
            now: monotonic seconds.
        """
        if now < self._next_s:
            return
        passed_s, self._last_s = now - (self._last_s or now), now
        self._next_s = now + EVERY_S
        row = rings.board.row(INFER_ROW)
        owed = any(table.owed for table in rings.frames) and rings.outputs.free_slot() is not None
        mark = (_pid(self._infer), self._infer.ready, row.beats, *(table.words[STALE] for table in rings.frames))
        limit_s = max(INFER_S, _INFER_BATCHES * _batch_s(row, INFER_STAGES, "infer")) + max_delay_ns / 1e9
        self._judge(self._infer, mark, owed, limit_s, passed_s)
        row = rings.board.row(PUBLISH_ROW)
        limit_s = max(PUBLISH_S, _PUBLISH_BATCHES * _batch_s(row, PUBLISH_STAGES, "take"))
        mark = (_pid(self._publish), self._publish.ready, row.beats)
        self._judge(self._publish, mark, rings.outputs.waiting > 0, limit_s, passed_s)

    def _judge(self, member: Member, mark: tuple[int, ...], owed: bool, limit_s: float, passed_s: float) -> None:
        progress = self._progress[member.role]
        pid = _pid(member)
        if not member.ready:
            limit_s = START_S[member.role]
        progress.look(mark, owed or not member.ready, passed_s)
        if progress.end_s is None and pid:
            member.fate = ""
        if pid in (0, os.getpid()) or progress.quiet_s < (_STARVED * limit_s if _wants_to_run(pid) else limit_s):
            return
        if progress.end_s is None:
            progress.end_s = self._last_s + _LAST_WORDS_S
            self._next_s = min(self._next_s, progress.end_s)
            doing = "with work to do" if member.ready else "while it started"
            member.fate = f"hung for {progress.quiet_s:.1f} s {doing}"
            _LOG.error("%s, pid %d, hangs: %s", member.label, pid, "; ".join(thread_states(pid)) or "it is gone")
            ask_for_stacks(pid)
        elif self._last_s >= progress.end_s:
            progress.end_s = float("inf")
            assert member.running is not None
            member.running[0].kill()


def _pid(member: Member) -> int:
    return 0 if member.running is None else member.running[0].pid


def _batch_s(row: Row, stages: Sequence[str], counted: str) -> float:
    """What a batch has taken so far, on average."""
    times = row.times(stages)
    runs = times[counted].runs
    return sum(stage.wall_ns for stage in times.values()) / runs / 1e9 if runs else 0.0


def _wants_to_run(pid: int) -> bool:
    """Whether a process's main thread is running, or would be if there were a processor for it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["R"]
