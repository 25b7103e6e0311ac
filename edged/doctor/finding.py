# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and the report that is made of it: schema ``edged.doctor/1``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

SCHEMA = "edged.doctor/1"
Result = Literal["ok", "warning", "problem", "skipped"]
ExitCode = Literal[69, 78]
UNAVAILABLE: ExitCode = 69
"""The device or a library that it needs cannot be used."""
CONFIGURATION: ExitCode = 78
"""Something that the user, or whoever set the machine up, has to set otherwise."""


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        result: ``ok``; ``warning``: works, but worse than it could; ``problem``; ``skipped``.
        text: in a clause; for ``skipped`` the reason.
        evidence: what was seen, and where.
        remedy: commands to type and lines to change, one each.
    """

    result: Result
    text: str
    evidence: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()


class SkippedError(Exception):
    """A check does not apply here; its text is the reason."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check and what it found.

    Attributes:
        name: of the check.
        looks_at: what it looks at.
        result: ``ok``, ``warning``, ``problem`` or ``skipped``.
        text: what was found, in a clause; for ``skipped`` the reason.
        evidence: what was seen, and where.
        remedy: commands to type and lines to change; a ``problem`` always has one.
        exit_code: 69 or 78: how a problem of this kind ends the command.
        took_ms: duration, milliseconds.
    """

    name: str
    looks_at: str
    result: Result
    text: str
    evidence: tuple[str, ...]
    remedy: tuple[str, ...]
    exit_code: int
    took_ms: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edged doctor --json`` prints.

    Attributes:
        at: when, Unix seconds.
        version: of edged.
        machine: ``kernel``, ``architecture``, ``python``, ``gpu`` (jetson, discrete, wsl or none).
        config: the settings file; None where there was none.
        exit_code: of the command.
        counts: findings by result.
        checks: in the order in which they ran.
        schema: of this object.
    """

    at: float
    version: str
    machine: dict[str, str]
    config: str | None
    exit_code: int
    counts: dict[str, int]
    checks: tuple[Finding, ...]
    schema: str = SCHEMA


def ok(text: str, evidence: Iterable[str] = ()) -> Outcome:
    """Nothing to do."""
    return Outcome("ok", text, tuple(evidence))


def warning(text: str, evidence: Iterable[str], remedy: Iterable[str]) -> Outcome:
    """Works, but worse than it could, or not for long."""
    return Outcome("warning", text, tuple(evidence), tuple(remedy))


def problem(text: str, evidence: Iterable[str], remedy: Iterable[str]) -> Outcome:
    """Does not work."""
    return Outcome("problem", text, tuple(evidence), tuple(remedy))


def skipped(reason: str) -> Outcome:
    """Does not apply here."""
    return Outcome("skipped", reason)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without a problem; 78 if any is one of configuration, which comes first at a start, else 69."""
    return max((finding.exit_code for finding in findings if finding.result == "problem"), default=0)


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Findings by result; all four are there."""
    found = Counter(finding.result for finding in findings)
    results: tuple[Result, ...] = ("ok", "warning", "problem", "skipped")
    return {result: found[result] for result in results}
