# SPDX-License-Identifier: Apache-2.0
"""Findings for people: one line a check, what was seen and what to do below it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from edged.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red", "skipped": "dim"}
_RESULT_WIDTH = 9
_NAME_WIDTH = 17
_INDENT = " " * (_RESULT_WIDTH + _NAME_WIDTH)


def show_finding(console: Console, finding: Finding) -> None:
    """Print one finding; evidence and remedy only where there is something to do."""
    style = _STYLES[finding.result]
    line = Text(finding.result.ljust(_RESULT_WIDTH), style)
    line.append(finding.name.ljust(_NAME_WIDTH), "dim" if finding.result == "skipped" else "bold")
    line.append(finding.text, "dim" if finding.result == "skipped" else "")
    _print(console, line)
    if finding.result not in ("warning", "problem"):
        return
    for seen in finding.evidence:
        _print(console, Text(f"{_INDENT}{seen}", "dim"))
    for step in finding.remedy:
        _print(console, Text(f"{_INDENT}→ ", style).append(step, ""))


def show_summary(console: Console, counts: dict[str, int]) -> None:
    """Print how many there are of each."""
    parts = [_counted(number, result) for result, number in counts.items() if number or result == "problem"]
    _print(console, Text("\n" + ", ".join(parts)))


def _counted(number: int, result: str) -> str:
    plural = "s" if number != 1 and result in ("warning", "problem") else ""
    return f"{number} {result}{plural}"


def _print(console: Console, line: Text) -> None:
    # Commands are there to be copied: no line breaks of ours in them.
    console.print(line, soft_wrap=True, highlight=False)
