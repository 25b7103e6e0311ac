# SPDX-License-Identifier: Apache-2.0
"""The children of the supervisor, as it keeps track of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.errors import BY_NAME, DeviceUnavailableError, EdgedError, InternalError, RestartWantedError
from edged.messages import SourceState
from edged.runtime.backoff import Backoff
from edged.runtime.channel import Channel
from edged.runtime.launch import Handle


@dataclass(slots=True)
class Member:
    """One child: who it is, and how it is doing.

    Attributes:
        role: ``prepare``, ``capture``, ``infer``, ``publish`` or ``verify``.
        name: the source's name for capture, else the role.
        source: index of the source; -1 for the others.
        running: its process and channel; None while it is down.
        ready: whether it does its work (bound, model loaded, source started).
        error: what it reported before it went.
        restarts: how often it was replaced.
        start_at: when to start it again (monotonic seconds); None when it runs or is not to run any more.
        cpu_s: CPU time of the process that runs now, when last looked at.
        fate: why the supervisor ends it, if it does.
    """

    role: str
    name: str
    source: int = -1
    running: tuple[Handle, Channel] | None = None
    ready: bool = False
    error: EdgedError | None = None
    restarts: int = 0
    start_at: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    fate: str = ""

    @property
    def label(self) -> str:
        """How it is called in logs and statistics."""
        return f"{self.role}:{self.name}" if self.source >= 0 else self.role

    def tell(self, kind: str, body: object = None, fds: tuple[int, ...] = (), *, wait_s: float = 0.0) -> bool:
        """Send it a note; False when it is down or does not listen."""
        return self.running is not None and self.running[1].send(kind, body, fds, wait_s=wait_s)


IN_WORDS: dict[SourceState, str] = {
    "opening": "is opening",
    "live": "is live",
    "stalled": "is stalled",
    "backoff": "is down and will be tried again",
    "ended": "has ended",
    "failed": "has failed",
}
"""What a source does, for people."""


@dataclass(slots=True)
class SourceStatus:
    """What the supervisor knows of a source.

    Attributes:
        state: see `edged.messages.SourceHealth`.
        reason: why.
        decode: which decoder is in use.
        error: the user's mistake that keeps it from working, for the exit code.
    """

    state: SourceState = "opening"
    reason: str = ""
    decode: str = ""
    error: EdgedError | None = None

    @property
    def over(self) -> bool:
        """Whether it will deliver nothing more."""
        return self.state in ("ended", "failed")


def error_from(body: dict[str, str]) -> EdgedError:
    """The error that a child reported."""
    kind = BY_NAME.get(body["name"], InternalError)
    return kind(body["what"], where=body["where"], remedy=body["remedy"])


def describe_exit(status: int | None) -> str:
    """How a child ended, in words."""
    if status is None:
        return "hung"
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"


def given_up(member: Member, how: str, times: int) -> EdgedError:
    """Why the daemon ends where a process dies again and again.

    A GPU that could be used before and cannot be now is lost, or busy: the service manager is to try again.
    """
    if isinstance(member.error, DeviceUnavailableError):
        lost = member.error
        return RestartWantedError(f"the GPU is lost: {lost.what}", where=lost.where, remedy=lost.remedy)
    return member.error or InternalError(
        f"the {member.role} process {how}, for the {times}th time within a minute",
        remedy="see the log above for the reason",
    )
