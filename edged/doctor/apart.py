# SPDX-License-Identifier: Apache-2.0
"""Asking a library in a child process, so that its crash or hang is an answer, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from edged.doctor.finding import Outcome, problem

_SAID_LINES = 6
_SAID_CHARS = 300


class Answer(NamedTuple):
    """What came back.

    Attributes:
        facts: all that was told until the end.
        fate: ``done``; ``failed`` with an error; ``crashed``; ``hung``.
        doing: what was being done at the end.
        reason: why it did not get done.
        said: last lines on stderr.
    """

    facts: dict[str, Any]
    fate: Literal["done", "failed", "crashed", "hung"] = "done"
    doing: str = ""
    reason: str = ""
    said: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it got to its end."""
        return self.fate == "done"

    def trouble(self) -> str:
        """What went wrong, in a clause."""
        return f"{self.doing or 'starting Python'}: {self.reason}"

    @property
    def remedy(self) -> tuple[str, ...]:
        """What the error itself says should be done; empty where it does not."""
        return tuple(filter(None, [str(self.facts.get("remedy", ""))]))

    def outcome(self, remedy: Iterable[str]) -> Outcome:
        """The problem that an answer without end is."""
        return problem(self.trouble(), self.said or (f"a child process {self.fate} while {self.doing}",), remedy)


def ask(probe: str, request: Mapping[str, Any], environ: Mapping[str, str], limit_s: float) -> Answer:
    """Run one of `edged.doctor.probes` in a child process.

    Args:
        probe: its name.
        request: its arguments; they go through a pipe, not through argv.
        environ: of the child.
        limit_s: deadline, seconds; the child is killed then.
    """
    command = [sys.executable, "-m", "edged.doctor.probe", probe, str(os.getpid())]
    try:
        child = subprocess.run(
            command,
            input=msgspec.json.encode(request),
            capture_output=True,
            timeout=limit_s,
            env={**environ, "PYTHONFAULTHANDLER": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        facts = _facts(expired.stdout)
        reason = f"no answer within {limit_s:g} s"
        return Answer(facts, "hung", facts.pop("doing", ""), reason, _last_lines(expired.stderr))
    facts = _facts(child.stdout)
    doing, said = facts.pop("doing", ""), _last_lines(child.stderr)
    if child.returncode < 0:
        return Answer(facts, "crashed", doing, f"crashed ({_signal_name(-child.returncode)})", said)
    if "failed" in facts:
        return Answer(facts, "failed", doing, str(facts.pop("failed")), said)
    if not facts.pop("done", False):
        return Answer(facts, "crashed", doing, f"ended the process with status {child.returncode}", said)
    return Answer(facts, "done", doing, "", said)


def _facts(told: bytes | None) -> dict[str, Any]:
    """All lines as one object; a line that was cut off by the end does not count."""
    facts: dict[str, Any] = {}
    for line in (told or b"").splitlines():
        try:
            facts.update(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.DecodeError:
            break
    return facts


def _last_lines(text: bytes | None) -> tuple[str, ...]:
    lines = [line.strip() for line in (text or b"").decode("utf-8", "replace").splitlines()]
    return tuple(line[:_SAID_CHARS] for line in lines if line)[-_SAID_LINES:]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
