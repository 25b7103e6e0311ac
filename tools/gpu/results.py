# SPDX-License-Identifier: Apache-2.0
"""Results of a part's pieces: each is noted when it is there, so that a part that hangs later has not lost them."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTES = "GPU_CHECK_NOTES"
"""Environment: the file that takes each result as a line of JSON."""


class SkippedError(Exception):
    """Something cannot be shown here, for the reason given; that is no failure."""


def attempt(results: dict[str, Any], name: str, work: Callable[[], dict[str, Any]]) -> None:
    """Do a piece; what it fails with is its result, and the others go on."""
    try:
        results[name] = work()
    except SkippedError as reason:
        results[name] = {"skipped": str(reason)}
    except Exception as error:  # noqa: BLE001 - each piece on its own
        traceback.print_exc()
        results[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    print(name, results[name], flush=True)
    if NOTES in os.environ:
        with open(os.environ[NOTES], "a", encoding="utf-8") as file:
            file.write(json.dumps({name: results[name]}, default=str) + "\n")


def noted(path: Path) -> dict[str, Any]:
    """The results in a file of notes; empty where there is none."""
    results: dict[str, Any] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            results |= json.loads(line)
    return results
