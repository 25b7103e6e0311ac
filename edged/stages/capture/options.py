# SPDX-License-Identifier: Apache-2.0
"""Options behind the ``?`` of a source URI: each known by its name, given once, and within its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from edged.errors import SettingsError
from edged.stages.capture.redact import redact

Values = dict[str, Any]
Known = Mapping[str, Callable[[str], Values]]
"""What makes fields of an option's text; ValueError with a description of what would be right."""


def parse_query(query: str, known: Known, *, where: str, form: str) -> Values:
    """Read the options of a source URI.

    Args:
        query: what follows the ``?``.
        known: the options that this kind of source has.
        where: the source, as it stands in an error.
        form: an example that is right.

    Returns:
        The fields that the options given make.

    Raises:
        SettingsError: an option that is unknown, given twice, or out of bounds.
    """
    values: Values = {}
    seen: set[str] = set()
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            remedy = f"known are {', '.join(known)}"
            raise SettingsError(f"unknown option {redact(name)!r}", where=where, remedy=remedy)
        if name in seen:
            raise SettingsError(f"option {name} is given twice", where=where)
        seen.add(name)
        try:
            values |= known[name](text)
        except ValueError as error:
            what = f"option {name} is {redact(text)!r}, which is not {error}"
            raise SettingsError(what, where=where, remedy=f"write {form}") from None
    return values


def whole(text: str, low: int, high: int, what: str) -> int:
    """A whole number from ``low`` to ``high``; else ValueError with ``what``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
        raise ValueError(what)
    return int(text)


def number(text: str, low: float, high: float, what: str) -> float:
    """A number above ``low`` and at most ``high``; else ValueError with ``what``."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(what) from None
    if not (math.isfinite(value) and low < value <= high):
        raise ValueError(what)
    return value


def size(text: str, low: int, high: int) -> tuple[int, int]:
    """Width and height of text such as ``640x480``; else ValueError with a description."""
    what = f"width x height such as 640x480, each from {low} to {high}"
    width, _, height = text.partition("x")
    return whole(width, low, high, what), whole(height, low, high, what)
