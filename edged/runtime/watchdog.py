# SPDX-License-Identifier: Apache-2.0
"""The service manager's watchdog, fed by completed work; before it bites, the log says where everybody stands.

A timer that says "still here" proves nothing but itself. What is looked at is what the processes counted in shared
memory: a frame that was published or dropped for its age has gone through infer and publish. Where nothing moves, no
frame may be on its way either: then the sources are what is waited for, and that is honest.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from edged.errors import SharedMemoryError
from edged.runtime.members import Member
from edged.runtime.notify import Notifier
from edged.runtime.rings import Rings
from edged.runtime.signals import STACKS_SIGNAL

_LOG = logging.getLogger("edged")
_STACKS_AT = 0.6
"""Part of the watchdog's time after which stacks are written."""
_STACKS_TAKE_S = 0.2
_STATES = {
    "R": "running",
    "S": "waiting",
    "D": "waiting in the kernel, cannot be interrupted",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "dead",
}
_MOST_THREADS = 64

Family = Callable[[], Iterable[Member]]


class Work(NamedTuple):
    """How the work stands at one moment.

    Attributes:
        settled: frames so far that infer and publish are done with: published, or dropped as too old.
        owed: frames that were captured and are on their way.
        starting: whether infer or publish is being replaced.
    """

    settled: int
    owed: int
    starting: bool


def work_of(rings: Rings, members: Sequence[Member]) -> Work:
    """How the work stands.

    Args:
        rings: of the daemon.
        members: infer and publish.

    Raises:
        SharedMemoryError: a process was stopped with a lock in hand.
    """
    counts = [table.counts() for table in rings.frames]
    return Work(
        settled=sum(each.published + each.stale for each in counts),
        owed=sum(each.in_flight for each in counts),
        starting=not all(member.ready for member in members),
    )


class WorkWatch:
    """Tells from two looks at the work whether it goes on.

    Args:
        starting_s: how long a process that replaces another one may take until it works.
    """

    def __init__(self, starting_s: float) -> None:
        self._starting_s = starting_s
        self._since: float | None = None
        self._settled = -1

    def look(self, work: Work, now: float) -> bool:
        """Whether work was completed since the last look, or nobody has any.

        Args:
            work: how it stands.
            now: monotonic seconds.
        """
        moved = work.settled != self._settled
        self._settled = work.settled
        if work.starting:
            self._since = now if self._since is None else self._since
            return now - self._since < self._starting_s
        self._since = None
        return moved or work.owed == 0


class Watchdog:
    """Feeds the manager's watchdog, and has stacks written when there was nothing to feed it with for a while.

    A thread of its own looks after the latter, so that it works too where the supervisor itself hangs. Without a
    watchdog (`Notifier.watchdog_s` is None) nothing of this happens.

    Args:
        notifier: to the manager.
        family: the children.
        starting_s: how long a process that replaces another one may take until it works.
        stream: where stacks go, a file with a descriptor; default: standard error.
    """

    def __init__(self, notifier: Notifier, family: Family, *, starting_s: float, stream: TextIO | None = None) -> None:
        self._notifier = notifier
        self._family = family
        self._watch = WorkWatch(starting_s)
        self._stream = stream
        self._fed_s = time.monotonic()
        self._end = threading.Event()
        self._guard: threading.Thread | None = None

    def begin(self) -> None:
        """The daemon is ready: from now on the manager wants to be told."""
        if self._notifier.watchdog_s is not None and self._guard is None:
            self._fed_s = time.monotonic()
            self._guard = threading.Thread(target=self._stand_guard, name="watchdog", daemon=True)
            self._guard.start()

    def look(self, rings: Rings, members: Sequence[Member]) -> None:
        """Feed if there is something to feed with; call about once a second.

        Args:
            rings: of the daemon.
            members: infer and publish.
        """
        if self._guard is None:
            return
        try:
            work = work_of(rings, members)
        except SharedMemoryError:
            return  # whoever holds the lock does no work, and nobody else can
        now = time.monotonic()
        if self._watch.look(work, now) and self._notifier.alive():
            self._fed_s = now

    def close(self) -> None:
        """The daemon stops: nothing more is expected of it."""
        self._end.set()
        if self._guard is not None:
            self._guard.join(1.0)

    def _stand_guard(self) -> None:
        patience_s = (self._notifier.watchdog_s or 0.0) * _STACKS_AT
        told_of: float | None = None
        while not self._end.wait(patience_s / 8):
            fed_s = self._fed_s
            hungry_s = time.monotonic() - fed_s
            if hungry_s > patience_s and told_of != fed_s:
                told_of = fed_s
                _LOG.error("no work was completed for %.1f s: the stacks of all processes follow", hungry_s)
                write_stacks(self._family(), self._stream or sys.stderr, self._end.wait)


def write_stacks(family: Iterable[Member], stream: TextIO, pause: Callable[[float], object] = time.sleep) -> None:
    """Write to the log what every thread of a family is at; children write theirs to their own standard error.

    Args:
        family: the children.
        stream: where this process's stacks go, a file with a descriptor.
        pause: waits so many seconds; a child needs a moment to write.
    """
    for member in family:
        running = member.running
        if running is None or running[0].pid == os.getpid():
            continue
        pid = running[0].pid
        _LOG.error("%s, pid %d: %s", member.label, pid, "; ".join(thread_states(pid)) or "is gone")
        if ask_for_stacks(pid):
            pause(_STACKS_TAKE_S)
    _LOG.error("supervisor, pid %d: %s", os.getpid(), "; ".join(thread_states(os.getpid())))
    faulthandler.dump_traceback(stream, all_threads=True)


def ask_for_stacks(pid: int) -> bool:
    """Have a child write its stacks to its standard error; False where it cannot."""
    if not _catches(pid, STACKS_SIGNAL):
        return False
    try:
        os.kill(pid, STACKS_SIGNAL)
    except ProcessLookupError:
        return False
    return True


def thread_states(pid: int) -> list[str]:
    """What the kernel says of a process's threads: name, state, and where in the kernel each waits."""
    found = []
    try:
        threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
        for thread in threads[:_MOST_THREADS]:
            name, rest = (thread / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")[::2]
            state = _STATES.get(rest.split()[0], rest.split()[0])
            found.append(f"{name} {state}{_place(thread)}")
    except OSError:
        return found  # it ends while it is being looked at
    return found


def _place(thread: Path) -> str:
    """Where in the kernel a thread waits, as far as we may know."""
    try:
        place = (thread / "wchan").read_text(errors="replace")
    except OSError:
        return ""
    return f" in {place}" if place not in ("", "0") else ""


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; without, it would die of it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
