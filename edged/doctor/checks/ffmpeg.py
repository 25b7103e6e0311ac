# SPDX-License-Identifier: Apache-2.0
"""FFmpeg, through PyAV: what reads files and network cameras."""

from __future__ import annotations

from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import UNAVAILABLE, Outcome, ok, problem
from edged.doctor.situation import Situation

_WHEEL = ["pip install --force-reinstall 'av>=17.0'"]


def _ffmpeg(situation: Situation) -> Outcome:
    given = situation.ask("ffmpeg")
    if not given.done:
        return given.outcome(_WHEEL)
    evidence = [f"PyAV {given.facts['version']}, imported from {given.facts['at']}"]
    if missing := given.facts["missing"]:
        return problem(f"this FFmpeg cannot decode {' and '.join(missing)}", evidence, _WHEEL)
    return ok(f"libavcodec {given.facts['libavcodec']}, PyAV {given.facts['version']}", evidence)


FFMPEG = Check("ffmpeg", "FFmpeg, which reads files and network cameras", UNAVAILABLE, _ffmpeg, PROBE_LIMIT_S)
