# SPDX-License-Identifier: Apache-2.0
"""The page: verdict first, then what it rests on."""

from __future__ import annotations

from edged.engine.report import tables
from edged.engine.report.data import ReportData
from edged.engine.report.markup import Html, element, joined, paragraphs, section
from edged.engine.report.pictures import worst_frames
from edged.engine.report.plots.accuracy import accuracy_speed, repair_curve
from edged.engine.report.plots.layers import layer_errors
from edged.engine.report.plots.memory import memory_bars
from edged.engine.report.plots.scores import score_histograms
from edged.engine.report.sentence import sentence
from edged.engine.report.style import sheet
from edged.engine.report.words import counted, percent, points, when

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Should any markup ever slip through: the page may load and run nothing."""


def page(data: ReportData) -> str:
    """The whole file: the same data give the same text."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{data.model_id}: engine report"),
        element("style", Html(sheet())),
    )
    parts = (_top(data), _candidates(data), _deployment(data), _accuracy(data), _layers(data), _calibration(data))
    body = element("body", element("main", *parts, section("Device and versions", tables.versions(data))))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _top(data: ReportData) -> Html:
    device = data.device
    frame = f"{data.frame[0]} x {data.frame[1]}" if data.frame is not None else "varying size"
    facts = f"{data.task}, frames of {frame}, {device.runtime} on {device.name}, {when(data.created_at)}"
    held = [f"What would hold: {data.would_hold}"] if data.would_hold else []
    return element(
        "header",
        element("h1", data.model_id),
        element("p", f"{sentence(data)}.", class_="verdict"),
        element("p", facts, class_="faint"),
        paragraphs(held, "note"),
        paragraphs(data.why),
    )


def _candidates(data: ReportData) -> Html:
    missing = ""
    if not data.raced:
        missing = "Nothing was raced, so that no speeds are known."
    elif data.batch != data.shown_batch:
        missing = f"Batch {data.batch}, as configured, was not raced: speeds are shown at batch {data.shown_batch}."
    return section(
        "Candidates",
        paragraphs([missing] if missing else [], "note"),
        tables.candidates(data),
        accuracy_speed(data),
        tables.timings(data),
        memory_bars(data),
        tables.memory(data),
    )


def _deployment(data: ReportData) -> Html:
    return section("Deployment checklist", tables.deployment(data))


def _accuracy(data: ReportData) -> Html:
    facts = data.evaluation
    if facts is None:
        return section("Accuracy", element("p", "Accuracy was not measured: give images with --evaluate DIR."))
    on = counted(facts.images, "image")
    text = (
        f"Held against {counted(facts.labels, 'label')} on {on}."
        if facts.kind == "labels"
        else f"There are no labels: this is agreement with FP32 on {on}."
    )
    overlap = [f"Calibration images among them: {facts.overlap}."] if facts.overlap else []
    judged = "chosen engine" if data.chosen is None else data.chosen.precision.upper()
    pictures = worst_frames(data.worst, judged)
    return section(
        "Accuracy",
        paragraphs((text, *overlap)),
        paragraphs(facts.notes, "note"),
        tables.folders("Where they come from.", facts.folders),
        score_histograms(data),
        _shift(data),
        tables.classes(data),
        joined((element("h3", "Frames that differ most from FP32"), pictures)) if pictures else "",
    )


def _shift(data: ReportData) -> Html:
    scores = data.scores
    if scores is None or scores.shift is None:
        return Html("")
    text = f"Scores of the same findings shift by {_signed(scores.shift)} on average"
    if scores.p5 is not None and scores.p95 is not None:
        text += f", nine in ten by {_signed(scores.p5)} to {_signed(scores.p95)}"
    return element("p", f"{text}.")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _layers(data: ReportData) -> Html:
    taken = next((one for one in data.curve if one.chosen), None)
    text = (
        f"The plan taken has {percent(taken.share)} of the multiply-adds in INT8 and loses "
        f"{points(taken.loss, taken.error)} points."
        if taken is not None
        else ""
    )
    return section(
        "INT8, layer by layer",
        paragraphs([text] if text else []),
        repair_curve(data),
        tables.curve(data),
        layer_errors(data),
        tables.layers(data) if data.layers else "",
    )


def _calibration(data: ReportData) -> Html:
    facts = data.calibration
    if facts is None:
        return section("Calibration", tables.saturation(data))
    return section(
        "Calibration",
        element("p", f"INT8 ranges were read from {counted(facts.images, 'image')}; method: {facts.method}."),
        paragraphs(facts.warnings, "note"),
        tables.folders("Where they come from.", facts.folders),
        tables.saturation(data),
    )
