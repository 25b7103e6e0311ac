# SPDX-License-Identifier: Apache-2.0
"""Running checks one after the other, each with its deadline; nothing that a check says leaves without redaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from edged.doctor.check import Check
from edged.doctor.finding import Finding, Outcome, SkippedError, problem, skipped
from edged.doctor.situation import Situation
from edged.stages.capture.redact import redact

_REPORT = "please report this with the output of edged doctor --json"


def findings(checks: Iterable[Check], situation: Situation) -> Iterator[Finding]:
    """Run the checks; each finding comes as soon as it is there."""
    for check in checks:
        begin = time.monotonic()
        outcome = _in_time(check, situation)
        yield Finding(
            name=check.name,
            looks_at=check.looks_at,
            result=outcome.result,
            text=_line(outcome.text),
            evidence=tuple(map(_line, outcome.evidence)),
            remedy=tuple(map(_line, outcome.remedy)),
            exit_code=check.exit_code,
            took_ms=round((time.monotonic() - begin) * 1e3, 1),
        )


def _in_time(check: Check, situation: Situation) -> Outcome:
    """Run one check in a thread, for a dead network disk or device blocks whoever touches it; such a thread is left."""
    found: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: found.append(_look(check, situation)), name=f"doctor:{check.name}", daemon=True
    )
    thread.start()
    thread.join(check.limit_s)
    if found:
        return found[0]
    return problem(
        f"no answer within {check.limit_s:g} s",
        [f"looking at {check.looks_at} still blocks"],
        ["df; sudo dmesg | tail; getent hosts NAME  # a network disk, a device or a name server does not answer"],
    )


def _look(check: Check, situation: Situation) -> Outcome:
    try:
        return check.look(situation)
    except SkippedError as reason:
        return skipped(str(reason))
    except Exception as error:  # noqa: BLE001 - the top of a thread: one check's fault must not hide the others
        return problem("the check itself failed", [f"{type(error).__name__}: {error}"], [_REPORT])


def _line(text: str) -> str:
    """One line, without credentials."""
    return redact(" ".join(text.split()))
