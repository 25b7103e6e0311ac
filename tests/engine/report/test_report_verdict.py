# SPDX-License-Identifier: Apache-2.0
"""The verdict: what is said for each outcome, and that it stays on one screen."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from engine.report.report_rig import CPU, candidate, full, small
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from edged.engine.report.chart import chart
from edged.engine.report.checklist import checklist
from edged.engine.report.data import Check, CurvePoint, Evaluation, ReportData
from edged.engine.report.sentence import sentence
from edged.engine.report.verdict import LINES, show_verdict

FP32, FP16 = candidate("fp32", 20, 0.0), candidate("fp16", 9.72, 0.0)
CHOSEN = candidate("fp16", 9.72, 0.0, chosen=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            small(FP32, FP16, candidate("int8", 6, 0.42, chosen=True)),
            "INT8 was chosen: 1.62× the speed of FP16 at batch 8, 0.4 ± 0.3 points of AP below FP32",
        ),
        (
            small(FP32, candidate("int8", 6, -0.2, chosen=True, error=None)),
            "INT8 was chosen: 3.33× the speed of FP32 at batch 8, 0.2 points of AP above FP32",
        ),
        (
            small(candidate("fp16", 0.31, 0, chosen=True, batch=1), candidate("int8", 0.38, 0.3, batch=1), batch=1),
            "FP16 was chosen: INT8 is slower on this device at batch 1 (0.380 ms against 0.310)",
        ),
        (
            small(CHOSEN, candidate("int8", 9.8, 0.3)),
            "FP16 was chosen: INT8 is no faster on this device at batch 8 (9.80 ms against 9.72)",
        ),
        (
            small(CHOSEN, candidate("int8", 5, 24.1), candidate("int8", None, 3.24)),
            "FP16 was chosen: INT8 loses 3.2 ± 0.3 points of AP, at most 1 is allowed",
        ),
        (
            small(CHOSEN, candidate("int8", None, None, refused="TensorRT cannot build it")),
            "FP16 was chosen: INT8 was refused: TensorRT cannot build it",
        ),
        (small(CHOSEN, candidate("int8", None, 0.1)), "FP16 was chosen: INT8 was not raced"),
        (
            small(candidate("fp16", 0.148, 0, chosen=True, batch=4), candidate("int8", 0.137, 0, batch=4), batch=4),
            "FP16 was chosen: INT8 is not surely faster on this device at batch 4 (0.137 ms against 0.148)",
        ),
        (
            small(CHOSEN, candidate("int8", 5, 0.1, refused="it does not run")),
            "FP16 was chosen: INT8 was refused: it does not run",
        ),
        (small(FP32, CHOSEN), "FP16 was chosen: 2.06× the speed of FP32 at batch 8, 0.0 ± 0.3 points of AP below FP32"),
        (small(candidate("fp32", None, None, chosen=True)), "FP32 was chosen: nothing else was considered"),
        (
            msgspec.structs.replace(small(candidate("int8", None, 0.1, chosen=True)), asked="int8"),
            "INT8 was built as asked: 0.1 ± 0.3 points of AP below FP32",
        ),
        (
            msgspec.structs.replace(small(candidate("int8", None, 24.1)), asked="int8", bound=0.5),
            "No engine was chosen: INT8 loses 24.1 ± 0.3 points of AP, at most 0.5 are allowed",
        ),
        (
            small(candidate("fp16", None, None, refused="no memory")),
            "No engine was chosen: FP16 was refused: no memory",
        ),
        (small(), "No engine was chosen: there was no candidate"),
    ],
)
def test_each_outcome_in_one_sentence(data: ReportData, said: str) -> None:
    assert sentence(data) == said


def test_a_batch_size_that_was_not_raced_is_not_pretended() -> None:
    data = small(FP32, CHOSEN, batch=32)
    assert "at batch 8" in sentence(data)
    assert "the configuration uses 32, which was not raced" in checklist(data)[-1].evidence
    assert checklist(data)[-1].state == "warn"


def printed(data: ReportData, width: int, report: Path | None = None) -> list[str]:
    screen = io.StringIO()
    show_verdict(data, Console(file=screen, width=width), report)
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_whole_verdict_on_one_screen(width: int) -> None:
    report = Path("/var/lib/edged/engines/yolox-nano") / ("ab" * 32) / "report.html"
    lines = printed(full(), width, report)
    text = "\n".join(lines)
    assert sum(-(-max(len(line), 1) // width) for line in lines) <= LINES
    assert max(len(line.rstrip()) for line in lines[:-1]) <= min(width, 100)
    assert lines[-1] == f"report: {report}"
    assert "▸  int8, 86" in text
    assert "●" in text
    assert "refused: int8, every convolution: loses 24.1 points, 1 is allowed" in text
    assert "why: " in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_fullest_verdict_still_fits(width: int) -> None:
    long = "very \x1b[31m[bold]long " * 60
    crowd = tuple(candidate("int8", 5, 9.0, name=f"{it} {long}", refused=long) for it in range(12))
    data = msgspec.structs.replace(
        full(),
        model_id=long,
        candidates=(*crowd, candidate("fp16", 9, 0, chosen=True)),
        would_hold=long,
        why=(long,) * 9,
    )
    lines = printed(data, width, Path("/" + "x" * 150))
    assert sum(-(-max(len(line), 1) // width) for line in lines) <= LINES
    assert not any("\x1b" in line for line in lines)
    assert any(line.lstrip().startswith("▸  fp16") for line in lines)
    assert any("… 8 more" in line for line in lines)


def test_a_refused_build_says_what_would_hold() -> None:
    hold = '85 % of the multiply-adds in INT8 lose 0.7 points: build with calibrator = "search"'
    data = msgspec.structs.replace(small(candidate("int8", None, 24.1)), asked="int8", would_hold=hold)
    text = " ".join(" ".join(printed(data, 80)).split())
    assert "No engine was chosen: INT8 loses 24.1 ± 0.3 points of AP" in text
    assert f"would hold: {hold}" in text


def test_little_is_enough() -> None:
    lines = printed(msgspec.structs.replace(small(candidate("fp32", None, None, chosen=True)), device=CPU), 80)
    assert any("nothing else was considered" in line for line in lines)
    assert not any("GPU memory" in line for line in lines)
    assert printed(small(), 80)


losses = st.floats(-5, 30, allow_nan=False)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.floats(0, 1), losses), min_size=1, max_size=30),
    st.floats(0, 5),
    st.integers(20, 120),
    st.integers(4, 12),
)
def test_the_chart_stays_in_its_room_and_tells_what_holds(
    points: list[tuple[float, float]], bound: float, width: int, height: int
) -> None:
    curve = tuple(CurvePoint(share=share, loss=loss) for share, loss in points)
    data = msgspec.structs.replace(small(), curve=curve, bound=bound)
    lines = chart(data, width, height)
    assert 4 <= len(lines) <= height
    at_bound = next(row for row, line in enumerate(lines) if line.lstrip().startswith("≤"))
    above, below = "\n".join(lines[: at_bound + 1]), "\n".join(lines[at_bound + 1 : -2])
    assert ("○" in above) == any(loss <= bound for _, loss in points)
    assert ("○" in below or "▾" in below) == any(loss > bound for _, loss in points)


def states(data: ReportData) -> dict[str, str]:
    return {check.name: check.state for check in checklist(data)}


def test_the_checklist_passes_what_is_shown_and_nothing_else() -> None:
    assert states(full()) == {
        "Built on this device": "pass",
        "Accuracy on the whole set": "pass",
        "Sustained throughput": "not measured",
        "Heat and throttling": "not measured",
        "Exact versions": "pass",
        "Realistic batches": "pass",
    }
    assert set(states(small(candidate("fp32", None, None, chosen=True))).values()) == {"pass", "not measured"}
    sustained = Check(name="Sustained throughput", state="pass", evidence="30 min: 99 % of the first")
    assert states(msgspec.structs.replace(full(), sustained=sustained))["Sustained throughput"] == "pass"


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"recipe": "/etc/r.toml"}, "Built on this device", "by the recipe /etc/r.toml"),
        ({"bound": 0.5}, "Accuracy on the whole set", "the bound lies within the error"),
        ({"bound": 0.1}, "Accuracy on the whole set", "more than the 0.1 allowed"),
        ({"evaluation": Evaluation(kind="agreement", images=512)}, "Accuracy on the whole set", "no labels"),
        ({"evaluation": Evaluation(kind="labels", images=40)}, "Accuracy on the whole set", "few images"),
        ({"batch": 16}, "Realistic batches", "raced at 1, 4, 8; the configuration uses 16, which was not raced"),
    ],
)
def test_the_checklist_warns(change: dict[str, object], name: str, words: str) -> None:
    check = next(it for it in checklist(msgspec.structs.replace(full(), **change)) if it.name == name)
    assert check.state == "warn"
    assert words in check.evidence


def test_a_refused_build_passes_nothing_it_has_not() -> None:
    data = small(candidate("int8", None, 24.1))
    found = states(msgspec.structs.replace(data, evaluation=Evaluation(kind="labels", images=500)))
    assert found["Built on this device"] == "not measured"
    assert found["Accuracy on the whole set"] == "warn"
