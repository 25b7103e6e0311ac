# SPDX-License-Identifier: Apache-2.0
"""Lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable

_NAMED = 4


def some(texts: Iterable[str]) -> str:
    """The first few of some texts, and how many more there are."""
    every = list(texts)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")
