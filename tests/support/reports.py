# SPDX-License-Identifier: Apache-2.0
"""What a benchmark or a long run wrote with ``--output``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Written(NamedTuple):
    """A report.

    Attributes:
        figures: values by name.
        details: whatever else was measured.
    """

    figures: dict[str, float]
    details: dict[str, Any]


def read(output: Path) -> Written:
    """Read it; the machine it comes from must stand in it."""
    content: dict[str, Any] = json.loads(output.read_text())
    assert content["machine"]["cores"] >= 1
    return Written({figure["name"]: figure["value"] for figure in content["figures"]}, content["details"])
