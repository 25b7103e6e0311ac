# SPDX-License-Identifier: Apache-2.0
"""What should be shown before an engine goes into service, and what shows it."""

from __future__ import annotations

from edged.engine.report.candidate import Accuracy
from edged.engine.report.data import Check, ReportData, State
from edged.engine.report.words import against, clean, counted, listed, points, when

FEW_IMAGES = 100
"""On fewer images a point of accuracy says little."""
_LATER = "not measured yet: edged bench --sustained 30m"


def checklist(data: ReportData) -> tuple[Check, ...]:
    """The items, always the same ones in the same order."""
    return (
        _built_here(data),
        _accuracy(data),
        data.sustained or Check(name="Sustained throughput", state="not measured", evidence=_LATER),
        data.thermal or Check(name="Heat and throttling", state="not measured", evidence=_LATER),
        _versions(data),
        _batches(data),
    )


def _built_here(data: ReportData) -> Check:
    name, device = "Built on this device", data.device
    if data.chosen is None:
        return Check(name=name, state="not measured", evidence="nothing was built")
    parts = [device.name, device.runtime, device.driver and f"driver {device.driver}", when(data.created_at)]
    evidence = ", ".join(clean(part) for part in parts if part)
    if data.recipe:
        evidence = f"{evidence}; but the choice was made elsewhere, by the recipe {clean(data.recipe)}"
    return Check(name=name, state="warn" if data.recipe or not device.name else "pass", evidence=evidence)


def _accuracy(data: ReportData) -> Check:
    """Of the chosen engine; where the build was refused, of what came nearest."""
    name, found, facts = "Accuracy on the whole set", _judged(data), data.evaluation
    if found is None or facts is None:
        return Check(
            name=name, state="not measured", evidence="give images that calibration never sees: --evaluate DIR"
        )
    on = counted(facts.images, "image") + (f" with {counted(facts.labels, 'label')}" if facts.labels else "")
    doubts = []
    if found.loss > data.bound:
        doubts.append(f"more than the {data.bound:g} allowed")
    elif found.error is not None and found.loss + found.error > data.bound:
        doubts.append("the bound lies within the error: evaluate on more images")
    if facts.kind == "agreement":
        doubts.append("no labels: this is agreement with FP32, not truth")
    if facts.images < FEW_IMAGES:
        doubts.append("few images")
    evidence = f"{clean(found.metric)} {points(found.value)} on {on}: {against(found)}"
    state: State = "warn" if doubts else "pass"
    return Check(name=name, state=state, evidence="; ".join((evidence, *doubts)))


def _judged(data: ReportData) -> Accuracy | None:
    if data.chosen is not None:
        return data.chosen.accuracy
    return min((one.accuracy for one in data.candidates if one.accuracy), key=lambda one: one.loss, default=None)


def _versions(data: ReportData) -> Check:
    """Without them nobody can build the same again."""
    if not data.versions:
        return Check(name="Exact versions", state="not measured", evidence="no versions are on record")
    text = ", ".join(f"{clean(name)} {clean(version)}" for name, version in sorted(data.versions.items()))
    return Check(name="Exact versions", state="pass", evidence=text)


def _batches(data: ReportData) -> Check:
    name, raced = "Realistic batches", data.raced
    if not raced:
        return Check(
            name=name, state="not measured", evidence=f"nothing was raced; the configuration uses {data.batch}"
        )
    evidence = f"raced at {listed(raced)}; the configuration uses {data.batch}"
    if data.batch in raced:
        return Check(name=name, state="pass", evidence=evidence)
    return Check(name=name, state="warn", evidence=f"{evidence}, which was not raced")
