# SPDX-License-Identifier: Apache-2.0
"""The colours of page and plots. Plots are drawn in the light ones; the page turns each into a CSS variable.

The series are those of Okabe and Ito, which the colour-blind tell apart, too, lighter where the ground is dark.
"""

from __future__ import annotations

from typing import NamedTuple

from edged.engine.report.candidate import Precision


class Tone(NamedTuple):
    """A colour on light ground and on dark, ``#rrggbb`` in lower case."""

    light: str
    dark: str


TONES: dict[str, Tone] = {
    "ground": Tone("#fefefe", "#0f1419"),
    "ink": Tone("#1f2329", "#e4e8ed"),
    "faint": Tone("#5a646f", "#9aa5b1"),
    "line": Tone("#d4dae1", "#343d47"),
    "panel": Tone("#f3f5f8", "#1a2129"),
    "int8": Tone("#0072b2", "#56b4e9"),
    "fp16": Tone("#d55e00", "#f0883e"),
    "tf32": Tone("#b0568a", "#d991bb"),
    "fp32": Tone("#008a65", "#2fc297"),
    "weights": Tone("#3d4f66", "#8296b0"),
    "activations": Tone("#86aed8", "#3f6fa3"),
    "io": Tone("#e0bd55", "#d0a93a"),
    "pass": Tone("#00694c", "#2fc296"),
    "warn": Tone("#9a4500", "#f0883f"),
}
"""By the name of its variable; no two light ones are equal, so that a drawn colour tells its name."""

INK, FAINT, LINE = (TONES[name].light for name in ("ink", "faint", "line"))


def of(precision: Precision) -> str:
    """What a precision is drawn in."""
    return TONES[precision].light


def as_variables(svg: str) -> str:
    """A drawing with its colours as CSS variables."""
    for name, tone in TONES.items():
        svg = svg.replace(tone.light, f"var(--{name})")
    return svg


def declarations(dark: bool) -> str:
    """The variables."""
    return " ".join(f"--{name}: {tone.dark if dark else tone.light};" for name, tone in TONES.items())
