# SPDX-License-Identifier: Apache-2.0
"""The verdict in one sentence: what was chosen, and the reason that decided."""

from __future__ import annotations

from collections.abc import Sequence

from edged.engine.report.candidate import Candidate
from edged.engine.report.data import ReportData
from edged.engine.report.words import against, clean, milliseconds, points

_SAME = 1.02
"""Times that differ by less are called equal."""


def sentence(data: ReportData) -> str:
    """``INT8 was chosen: 1.62× the speed of FP16 at batch 8, 0.4 ± 0.3 points of AP below FP32``."""
    chosen = data.chosen
    if chosen is None:
        return f"No engine was chosen: {_nothing(data)}"
    name = chosen.precision.upper()
    if data.asked != "auto":
        return f"{name} was built as asked: {_merits(data, chosen) or 'nothing else was considered'}"
    int8 = [one for one in data.candidates if one.precision == "int8"]
    if chosen.precision == "int8" or not int8:
        return f"{name} was chosen: {_merits(data, chosen) or 'nothing else was considered'}"
    return f"{name} was chosen: {_against_int8(data, chosen, int8)}"


def _merits(data: ReportData, chosen: Candidate) -> str:
    """How fast and how accurate it is, as far as that is known."""
    parts = [_speed(data, chosen)]
    if chosen.accuracy is not None and chosen.precision != "fp32":
        parts.append(against(chosen.accuracy))
    return ", ".join(part for part in parts if part)


def _speed(data: ReportData, chosen: Candidate) -> str:
    """Against the fastest candidate of another precision."""
    batch = data.shown_batch
    own = chosen.timing(batch)
    others = [one for one in data.candidates if one.precision != chosen.precision and one.timing(batch) is not None]
    if own is None or not others:
        return ""
    rival = _fastest(others, batch)
    theirs = rival.timing(batch)
    if theirs is None or theirs.frames_per_s.median <= 0:
        return ""
    ratio = own.frames_per_s.median / theirs.frames_per_s.median
    return f"{ratio:.2f}× the speed of {rival.precision.upper()} at batch {batch}"


def _against_int8(data: ReportData, chosen: Candidate, int8: Sequence[Candidate]) -> str:
    """Why INT8 lost: too slow, too inaccurate, or refused for another reason."""
    holding = [one for one in int8 if not out_of_bound(data, one)]
    if not holding:
        return _too_inaccurate(data, int8)
    batch = data.shown_batch
    timed = [one for one in holding if one.timing(batch) is not None]
    best = _fastest(timed, batch) if timed else holding[0]
    ours, theirs = chosen.timing(batch), best.timing(batch)
    if ours is not None and theirs is not None:
        mine, its = ours.latency_ms.median, theirs.latency_ms.median
        figures = f"on this device at batch {batch} ({milliseconds(its)} ms against {milliseconds(mine)})"
        if its > _SAME * mine:
            return f"INT8 is slower {figures}"
        if its * _SAME > mine:
            return f"INT8 is no faster {figures}"
        if not best.refused_because:
            # The median is ahead; other rounds, or other batch sizes, were not.
            return f"INT8 is not surely faster {figures}"
    return f"INT8 was refused: {clean(best.refused_because)}" if best.refused_because else "INT8 was not raced"


def _too_inaccurate(data: ReportData, int8: Sequence[Candidate]) -> str:
    """Of the candidate that loses least."""
    found = [one.accuracy for one in int8 if one.accuracy is not None]
    least = min(found, key=lambda one: one.loss)
    lost = f"{points(least.loss, least.error)} points of {clean(least.metric)}"
    return f"INT8 loses {lost}, at most {data.bound:g} {'is' if data.bound == 1 else 'are'} allowed"


def _nothing(data: ReportData) -> str:
    int8 = [one for one in data.candidates if one.precision == "int8" and one.accuracy is not None]
    if int8 and all(out_of_bound(data, one) for one in int8):
        return _too_inaccurate(data, int8)
    refused = [one for one in data.candidates if one.refused_because]
    if refused:
        return f"{refused[0].precision.upper()} was refused: {clean(refused[0].refused_because)}"
    return "there was no candidate" if not data.candidates else "no candidate holds"


def out_of_bound(data: ReportData, one: Candidate) -> bool:
    """Whether it is known to lose more than is allowed."""
    return one.accuracy is not None and one.accuracy.loss > data.bound


def _fastest(some: Sequence[Candidate], batch: int) -> Candidate:
    """At a batch size at which each of them was timed."""
    return max(some, key=lambda one: timing.frames_per_s.median if (timing := one.timing(batch)) else 0.0)
