# SPDX-License-Identifier: Apache-2.0
"""Asking ``nvidia-smi``, which comes with the driver of discrete GPUs."""

from __future__ import annotations

import shutil
import subprocess

from edged.doctor.situation import Situation

_LIMIT_S = 8.0
_ABSENT = ("", "N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]")


def query(situation: Situation, *fields: str) -> dict[str, str]:
    """Values of the configured GPU by the name of the field; without those that the GPU does not have.

    Empty where there is no discrete GPU or no nvidia-smi, or it does not answer or does not know a field.
    """
    if situation.machine.hardware() != "discrete":
        return {}
    environ = situation.machine.environ
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return {}
    command = [program, f"--id={situation.device}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_LIMIT_S,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = [value.strip() for value in (done.stdout.splitlines() or [""])[0].split(",")]
    if done.returncode != 0 or len(values) != len(fields):
        return {}
    return {name: value for name, value in zip(fields, values, strict=True) if value not in _ABSENT}


def number(values: dict[str, str], name: str) -> float | None:
    """A value as a number; None where it is none."""
    try:
        return float(values[name])
    except (KeyError, ValueError):
        return None
