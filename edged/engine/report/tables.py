# SPDX-License-Identifier: Apache-2.0
"""The report's tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edged.engine.report.candidate import Candidate, Memory, Timing
from edged.engine.report.checklist import checklist
from edged.engine.report.data import Folder, ReportData, State
from edged.engine.report.markup import Html, element, folded, table
from edged.engine.report.plots.layers import by_error
from edged.engine.report.sentence import out_of_bound
from edged.engine.report.words import allowed, milliseconds, percent, points, rate
from edged.engine.summary import size

MOST_ROWS = 600
"""Of a table; a model with more layers is not read row by row."""
_CLIPPED = 20
_STATES: dict[State, tuple[str, str]] = {
    "pass": ("✓ pass", "pass"),
    "warn": ("! warn", "warn"),
    "not measured": ("– not measured", "open"),
}


def deployment(data: ReportData) -> Html:
    """The checklist with its evidence."""
    rows = []
    for check in checklist(data):
        said, kind = _STATES[check.state]
        rows.append((check.name, element("span", said, class_=kind), check.evidence))
    return table("What should be shown before this engine goes into service.", ("", "state", "evidence"), rows, texts=3)


def candidates(data: ReportData) -> Html:
    """What was considered, at the configured batch size, and what became of it."""
    batch = data.shown_batch
    columns = (
        "candidate",
        "outcome",
        f"frames/s, batch {batch}",
        data.metric or "accuracy",
        "points lost",
        "INT8 share",
    )
    rows = [(_named(one), outcome(data, one), _rate(one.timing(batch)), *_accuracy(one)) for one in data.candidates]
    return table(f"Candidates; at most {allowed(data.bound)} may be lost.", columns, rows, texts=2)


def _named(one: Candidate) -> Html:
    return element("b" if one.chosen else "span", one.name)


def outcome(data: ReportData, one: Candidate) -> str:
    """What became of a candidate."""
    if one.chosen:
        return "chosen"
    if one.refused_because:
        return one.refused_because
    if out_of_bound(data, one):
        return "loses more than is allowed"
    mine = None if data.chosen is None else data.chosen.timing(data.shown_batch)
    its = one.timing(data.shown_batch)
    if its is None or mine is None or mine.frames_per_s.median <= 0:
        return "not chosen" if one.timings else "not raced"
    return f"not chosen: {its.frames_per_s.median / mine.frames_per_s.median:.2f}× the speed"


def _rate(found: Timing | None) -> str:
    return "–" if found is None else rate(found.frames_per_s.median)


def _accuracy(one: Candidate) -> tuple[str, str, str]:
    found, share = one.accuracy, percent(one.int8_share)
    return ("–", "–", share) if found is None else (points(found.value), points(found.loss, found.error), share)


def timings(data: ReportData) -> Html:
    """The race at every batch size."""
    columns = ("batch", "candidate", "latency, ms", "lowest–highest", "frames/s", "lowest–highest")
    rows = [row for batch in data.raced for row in _batch_rows(data, batch)]
    return table("The race: median of the rounds, and lowest to highest of them.", columns, rows, texts=2)


def _batch_rows(data: ReportData, batch: int) -> Iterator[tuple[str, ...]]:
    """One for each candidate; the first tells the batch size."""
    head = str(batch)
    for one in data.candidates:
        found = one.timing(batch)
        if found is not None:
            yield (head, _named(one), *_figures(found))
            head = ""


def _figures(found: Timing) -> tuple[str, str, str, str]:
    times, rates = found.latency_ms, found.frames_per_s
    return (
        milliseconds(times.median),
        f"{milliseconds(times.low)}–{milliseconds(times.high)}",
        rate(rates.median),
        f"{rate(rates.low)}–{rate(rates.high)}",
    )


def memory(data: ReportData) -> Html:
    """GPU memory by kind; nothing without a GPU."""
    rows = [(_named(one), *memory_words(one.memory)) for one in data.candidates if one.memory is not None]
    columns = ("candidate", "weights", "activations", "input and output", "together")
    return table("GPU memory.", columns, rows)


def memory_words(found: Memory) -> tuple[str, str, str, str]:
    """Each kind, and what they make together as far as they are known."""
    kinds = (found.weights, found.activations, found.io)
    together = size(sum(it or 0 for it in kinds)) if any(it is not None for it in kinds) else "unknown"
    weights, activations, io = ("unknown" if it is None else size(it) for it in kinds)
    return weights, activations, io, together


def curve(data: ReportData) -> Html:
    """The search for an INT8 plan, step by step."""
    rows = [
        (element("b", it.step) if it.chosen else it.step, percent(it.share), points(it.loss, it.error))
        for it in data.curve[:MOST_ROWS]
    ]
    shown = table("In the order tried; the one taken is bold.", ("step", "multiply-adds in INT8", "points lost"), rows)
    return folded(f"The {len(data.curve)} plans that were evaluated", shown)


def layers(data: ReportData) -> Html:
    """Every layer: the worst first, then those that were not measured."""
    parts = {one.name: part for one, part in by_error(data.layers)}
    order = sorted(data.layers, key=lambda one: (-parts.get(one.name, -1.0), one.name))[:MOST_ROWS]
    rows = [
        (one.name, one.operator, one.precision.upper(), one.why, percent(parts.get(one.name)), percent(one.share))
        for one in order
    ]
    columns = ("layer", "operator", "in the plan", "why", "of the error", "of the multiply-adds")
    return folded(f"All {len(data.layers)} layers", table(_shown(len(data.layers)), columns, rows, texts=4))


def _shown(count: int) -> str:
    return "Layers." if count <= MOST_ROWS else f"The first {MOST_ROWS} of {count:,} layers."


def saturation(data: ReportData) -> Html:
    """The tensors that are clipped most."""
    worst = sorted(data.saturation, key=lambda it: (-it.share, it.tensor))[:_CLIPPED]
    rows = [(it.tensor, percent(it.share), _number(it.threshold), _number(it.largest)) for it in worst if it.share > 0]
    columns = ("tensor", "clipped", "INT8 holds up to", "largest seen")
    title = f"Values beyond their INT8 range: the {len(rows)} worst of {len(data.saturation)} tensors"
    return folded(title, table("Part of the values seen in calibration.", columns, rows)) if rows else Html("")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def classes(data: ReportData) -> Html:
    """The metric by class, the greatest loss first."""
    order = sorted(data.classes, key=lambda it: (it.value - it.reference, it.name))[:MOST_ROWS]
    rows = [(it.name, points(it.reference), points(it.value), points(it.reference - it.value)) for it in order]
    judged = "chosen" if data.chosen is not None else "judged"
    shown = table("The greatest loss first.", ("class", "FP32", judged, "points lost"), rows)
    return folded(f"{data.metric or 'Points'} of {len(rows)} classes", shown) if rows else Html("")


def folders(caption: str, found: Sequence[Folder]) -> Html:
    """Where images come from."""
    return table(caption, ("folder", "images"), [(one.name, f"{one.images:,}") for one in found])


def versions(data: ReportData) -> Html:
    """Device and versions, name by name."""
    device = data.device
    facts = {"device": device.name, "backend": device.backend, "runtime": device.runtime, "driver": device.driver}
    facts |= device.facts
    facts |= {name: version for name, version in sorted(data.versions.items()) if name not in facts}
    return table("", ("", ""), [(name, value) for name, value in facts.items() if value], texts=2)
