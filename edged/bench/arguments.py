# SPDX-License-Identifier: Apache-2.0
"""The flags of ``edged bench``. Cheap to import."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from edged.problems import printable

LEVELS = ("engine", "pipeline", "daemon")
ROUNDS = 12
"""So many that one disturbed round does not hide a difference, see `edged.rig.figures.outcome`."""
SECONDS = 0.5
SHORTEST_S = 2.0
"""Of ``--sustained``: less shows nothing that rounds do not."""
_MOST = 1024
_AS_SETTINGS = {
    "precision": "engine.precision",
    "backend": "engine.backend",
    "slots": "engine.slots",
    "contexts": "engine.contexts",
    "state_dir": "daemon.state_dir",
}


def add_flags(parser: ArgumentParser) -> None:
    """Add everything that ``edged bench`` takes."""
    parser.add_argument("spec", nargs="?", type=Path, metavar="SPEC.toml", help="model spec (default: the settings')")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings: model, engine, sources (default: none)")
    parser.add_argument(
        "--what", type=_levels, default=LEVELS, metavar="LEVEL,…", help="engine, pipeline, daemon (default: all)"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--batch", type=_sizes, metavar="N,…", help="batch sizes (default: 1 and the daemon's largest)")
    sizes.add_argument("--sweep", action="store_true", help="batch sizes 1, 2, 4, … up to the engine's largest")
    _add_engine(parser)
    parser.add_argument("--rounds", type=_number, default=ROUNDS, metavar="N", help="turns (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_positive, default=SECONDS, metavar="S", help="length of a turn (default: %(default)g)"
    )
    parser.add_argument(
        "--source", action="append", default=[], metavar="URI", help="source of the daemon; may be repeated"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="OTHER",
        help="measure this in the same rounds: a spec, settings, an engine's key, or a name like tensorrt/fp16",
    )
    parser.add_argument(
        "--sustained", type=_duration, metavar="TIME", help="only this: the daemon at full load for 30m, 90s, 1h"
    )
    parser.add_argument("--layers", action="store_true", help="how long each layer takes, and what would help it")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON; - for stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw frames/s over batch sizes, or over time")
    _add_checks(parser)


def _add_engine(parser: ArgumentParser) -> None:
    parser.add_argument("--slots", metavar="N", help="engine.slots")
    parser.add_argument("--contexts", metavar="N", help="engine.contexts")
    parser.add_argument("--precision", metavar="P", help="engine.precision")
    parser.add_argument("--backend", metavar="B", help="engine.backend")
    parser.add_argument("--state-dir", metavar="DIR", help="daemon.state_dir, where engines lie")


def _add_checks(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--check-rate", type=_positive, metavar="FPS", help="end with 1 where the pipeline gives fewer frames/s"
    )
    parser.add_argument(
        "--check-ratio", type=_positive, metavar="R", help="end with 1 where pipeline / engine alone is less"
    )
    parser.add_argument(
        "--check-p99", type=_positive, metavar="MS", help="end with 1 where the daemon's live p99 age is more"
    )


def overrides_of(given: Namespace) -> tuple[str, ...]:
    """The flags that are settings, in the form of settings, before those that were given in that form."""
    found = [f"--{key}={getattr(given, name)}" for name, key in _AS_SETTINGS.items() if getattr(given, name)]
    named = {flag.partition("=")[0] for flag in given.overrides}
    return (*(flag for flag in found if flag.partition("=")[0] not in named), *given.overrides)


def split_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags ``--section.key VALUE`` apart from the rest, so that no value is taken for the spec.

    Returns:
        The rest, and the settings.
    """
    rest: list[str] = []
    settings: list[str] = []
    left = iter(arguments)
    for argument in left:
        flag, equals, _ = argument.partition("=")
        if not (flag.startswith("--") and ("." in flag or flag == "--sources")):
            rest.append(argument)
            continue
        settings.append(argument)
        if not equals:
            settings += [value for value in [next(left, None)] if value is not None]
    return rest, settings


def _levels(text: str) -> tuple[str, ...]:
    asked = {part.strip() for part in text.split(",")}
    if not asked <= set(LEVELS):
        raise ArgumentTypeError(f"expected some of {','.join(LEVELS)}, found {printable(text)}")
    return tuple(level for level in LEVELS if level in asked)


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= _MOST for part in parts):
        raise ArgumentTypeError(f"expected numbers from 1 to {_MOST} like 1,4,8, found {printable(text)}")
    return tuple(sorted({int(part) for part in parts}))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise ArgumentTypeError(f"expected a number from 1, found {printable(text)}")
    return int(text)


def _duration(text: str) -> float:
    """Seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    if text[-1:] not in units:
        raise ArgumentTypeError(f"expected a time like 30m, 90s or 1h, found {printable(text)}")
    seconds = _positive(text[:-1]) * units[text[-1]]
    if seconds < SHORTEST_S:
        raise ArgumentTypeError(f"expected at least {SHORTEST_S:g}s, found {printable(text)}")
    return seconds


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, found {printable(text)}")
    return value
