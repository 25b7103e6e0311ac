# SPDX-License-Identifier: Apache-2.0
"""The flags of ``edged-build-engine`` for INT8: what it is made from, and what shows that it is good."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edged.engine.protocol import Trust
from edged.errors import UsageError
from edged.problems import printable

_LONGEST_MINUTES = 7 * 24 * 60.0
_LEAST_MB, _MOST_MB = 64, 1 << 24


def add(parser: ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("INT8 (docs/int8.md)")
    group.add_argument(
        "--calibrate",
        action="extend",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders of images to take ranges from",
    )
    group.add_argument("--calibrate-from", metavar="SOURCE", help="sample such images from a camera, file or folder")
    group.add_argument("--minutes", type=_decimal(0, _LONGEST_MINUTES), metavar="N", help="how long (default: 10)")
    group.add_argument(
        "--evaluate", action="extend", nargs="+", type=Path, metavar="DIR", help="folders of images to judge by"
    )
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="what is known of these: COCO.json, CLASSES.csv or a folder of masks",
    )
    group.add_argument("--bound", type=_decimal(-1, 100), metavar="POINTS", help="that may be lost (default: 1)")
    group.add_argument(
        "--calibrator", choices=("search", "minmax", "entropy", "percentile"), help="how ranges are found"
    )
    group.add_argument(
        "--no-search", action="store_true", help="give no layer back to float: take all that can be in INT8, or refuse"
    )
    group.add_argument(
        "--keep-float", action="append", metavar="GLOB", help="layers that are never quantized; may be repeated"
    )
    group.add_argument(
        "--search-minutes", type=_decimal(0, _LONGEST_MINUTES), metavar="N", help="longest search (default: 15)"
    )
    group.add_argument(
        "--memory-mb",
        type=_mebibytes,
        metavar="MIB",
        help="most memory of the building process (default: what is free)",
    )
    group.add_argument("--recipe", type=Path, metavar="FILE", help="recipe.json of another build, to search nothing")


def check(given: Namespace) -> None:
    """Refuse flags that say nothing together.

    Raises:
        UsageError: they do not.
    """
    if given.labels is not None and not given.evaluate:
        raise UsageError("--labels says what is in the images of --evaluate", remedy="give --evaluate DIR")
    if given.minutes is not None and given.calibrate_from is None:
        raise UsageError("--minutes says how long a source is sampled", remedy="give --calibrate-from SOURCE")
    if given.recipe is not None and (given.calibrate or given.calibrate_from):
        raise UsageError("a recipe holds its ranges, so there is nothing to calibrate", remedy="give one of the two")


def over(usual: Trust, given: Namespace) -> Trust:
    """The command line over the settings."""
    found: dict[str, Any] = {
        "calibrate": given.calibrate and tuple(str(path.absolute()) for path in given.calibrate),
        "source": given.calibrate_from,
        "minutes": given.minutes,
        "evaluate": given.evaluate and tuple(str(path.absolute()) for path in given.evaluate),
        "labels": given.labels and str(given.labels.absolute()),
        "bound": given.bound,
        "calibrator": given.calibrator,
        "search": False if given.no_search else None,
        "keep_float": given.keep_float and tuple(given.keep_float),
        "search_s": None if given.search_minutes is None else 60.0 * given.search_minutes,
        "recipe": given.recipe and str(given.recipe.absolute()),
    }
    return replace(usual, **{name: value for name, value in found.items() if value is not None})


def _mebibytes(text: str) -> int:
    if text.isascii() and text.isdecimal() and _LEAST_MB <= int(text) <= _MOST_MB:
        return int(text)
    raise ArgumentTypeError(f"expected a whole number from {_LEAST_MB} to {_MOST_MB}, found {printable(text)}")


def _decimal(above: float, most: float) -> type[float]:
    """A converter of numbers within bounds; a bound of -1 stands for 0 and lets 0 pass."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if above < value <= most and value >= 0:
            return value
        at_least = "0" if above < 0 else f"more than {above:g}"
        raise ArgumentTypeError(f"expected a number from {at_least} to {most:g}, found {printable(text)}")

    return convert  # type: ignore[return-value]
