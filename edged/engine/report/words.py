# SPDX-License-Identifier: Apache-2.0
"""Figures and names as people read them."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from edged.engine.report.candidate import Accuracy, Range

_LONGEST = 160


def clean(text: str, longest: int = _LONGEST) -> str:
    """A text on one line, without anything that is not printable, shortened in its middle.

    Names of models, layers and files are the user's: they may hold control sequences, half characters and marks that
    turn the direction of writing.
    """
    line = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    if len(line) <= longest:
        return line
    head = (longest - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (longest - 1 - head) :]}"


def points(value: float, error: float | None = None) -> str:
    """Points, with their standard error where it is known."""
    text = f"{value:.1f}".replace("-", "−")
    text = "0.0" if text == "−0.0" else text
    return text if error is None else f"{text} ± {error:.1f}"


def against(accuracy: Accuracy) -> str:
    """Distance from FP32: ``0.4 ± 0.3 points of AP below FP32``."""
    where = "below" if accuracy.loss >= 0 else "above"
    return f"{points(abs(accuracy.loss), accuracy.error)} points of {clean(accuracy.metric)} {where} FP32"


def milliseconds(value: float) -> str:
    """Milliseconds, to a microsecond at the most, without their unit."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def rate(value: float) -> str:
    """Frames a second, without the unit."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def percent(share: float | None) -> str:
    """A part of 1 as per cent; very small parts are not rounded to nothing."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0 < share < 0.001:
        return "<0.01%" if share < 0.00005 else f"{share:.2%}"
    return f"{share:.1%}"


def with_spread(found: Range) -> str:
    """Milliseconds with half the distance between the lowest and the highest round, to as many places."""
    half, places = (found.high - found.low) / 2, 3 if found.median < 1 else 2
    return f"{milliseconds(found.median)} ±{half:.{places}f}"


def when(seconds: float) -> str:
    """Date and time of Unix seconds, UTC, to the minute."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def allowed(bound: float) -> str:
    """How much may be lost: ``1 point``, ``0.5 points``."""
    return f"{bound:g} point{'' if bound == 1 else 's'}"


def listed(numbers: tuple[int, ...]) -> str:
    """Numbers in a sentence."""
    return ", ".join(map(str, numbers))


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``1 image``, ``1,200 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
