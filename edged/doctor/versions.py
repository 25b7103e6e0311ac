# SPDX-License-Identifier: Apache-2.0
"""Version numbers."""

from __future__ import annotations

import re


def numbers(version: str) -> tuple[int, ...]:
    """The numbers at the head of a version: 12, 9, 1 of ``12.9.1rc2``; (0,) where there are none."""
    head = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, head[0].split("."))) if head else (0,)
