# SPDX-License-Identifier: Apache-2.0
"""What the figures are taken to mean: what holds a pipeline back, which settings suit it, who is faster."""

from __future__ import annotations

from typing import Any

import pytest
from bench.bench_rig import blank, measured, spread_of

from edged.bench.compare import comparisons
from edged.bench.figures import saturation
from edged.bench.report import Efficiency, SlotRun
from edged.bench.report_daemon import DaemonRun
from edged.bench.verdict import advice, verdict
from edged.rig.figures import Distribution

TIMES = Distribution(count=1, min=1, mean=1, p50=1, p90=1, p99=1, max=1)


def engine_of(period_ms: float, *, eager_ms: float = 0.0, batch: int = 8, submit: float = 0.01) -> list[Any]:
    found = [measured("engine", batch, 1e3 * batch / period_ms, submit=submit)]
    if eager_ms:
        found.append(measured("engine-eager", batch, 1e3 * batch / eager_ms, submit=0.97 * eager_ms))
    return found


def pipeline_of(period_ms: float, batch: int = 8, **stages_ms: float) -> Any:
    return measured("pipeline", batch, 1e3 * batch / period_ms, **stages_ms)


def bound_of(result: Any) -> str:
    found = verdict(result)
    assert found is not None
    assert found.evidence
    return found.bound


def daemon_at(rate: float, capture: float | None = None, publish: float = 0.1) -> DaemonRun:
    return DaemonRun(
        sources=("s0",), batch=8, frames_per_s=spread_of(rate), busy={"publish": publish}, capture_per_s=capture
    )


def test_compute_bound() -> None:
    result = blank(measurements=[*engine_of(1.0, eager_ms=1.05), pipeline_of(1.02, copy=0.3, submit=0.05)])
    result.efficiency = [Efficiency(batch=8, ratio=spread_of(0.98))]
    assert bound_of(result) == "compute"
    found = verdict(result)
    assert found is not None
    assert any("98.0% of the engine alone" in line for line in found.evidence)
    assert any("1.05×, small" in line for line in found.evidence)


def test_copy_bound() -> None:
    assert bound_of(blank(measurements=[*engine_of(0.5), pipeline_of(1.5, copy=1.42, submit=0.05)])) == "copy"


def test_launch_bound_by_the_host() -> None:
    assert bound_of(blank(measurements=[*engine_of(0.1), pipeline_of(0.3, copy=0.05, submit=0.2, deliver=0.08)])) == (
        "launch"
    )


def test_launch_bound_without_a_graph() -> None:
    result = blank(measurements=[*engine_of(0.6, eager_ms=0.6), pipeline_of(0.62, copy=0.05, submit=0.1)])
    assert bound_of(result) == "compute"
    result.notes = ["runs without a CUDA graph: it cannot be recorded"]
    assert bound_of(result) == "launch"


def test_nothing_stands_out() -> None:
    assert bound_of(blank(measurements=[*engine_of(0.2), pipeline_of(1.0, copy=0.1, submit=0.1)])) == "unclear"


def test_capture_and_publish_bound() -> None:
    levels = [*engine_of(1.0), pipeline_of(1.02)]  # 7,843 frames/s
    assert bound_of(blank(measurements=levels, daemon=daemon_at(3000, capture=3100))) == "capture"
    assert bound_of(blank(measurements=levels, daemon=daemon_at(3000, capture=9000, publish=0.95))) == "publish"
    assert bound_of(blank(measurements=levels, daemon=daemon_at(7500, capture=7600))) == "compute"
    assert bound_of(blank(measurements=levels, daemon=daemon_at(3000))) == "compute"


def test_without_a_pipeline_there_is_no_verdict() -> None:
    assert verdict(blank(measurements=engine_of(1.0))) is None
    assert advice(blank()) == []


def test_advice_names_its_reason() -> None:
    result = blank(saturation=saturation("pipeline", {1: 100.0, 8: 960.0, 16: 1000.0}))
    result.slot_runs = [
        SlotRun(slots=slots, batch=8, frames_per_s=spread_of(rate), latency_ms=TIMES)
        for slots, rate in ((1, 700.0), (2, 980.0), (3, 1000.0))
    ]
    batch, slots = advice(result)
    assert (batch.key, batch.value) == ("engine.max_batch", 8)
    assert "960 frames/s, 1,000 at 16" in batch.why
    assert (slots.key, slots.value) == ("engine.slots", 2)
    assert "1: 70%, 2: 98%, 3: 100%" in slots.why


@pytest.mark.parametrize(
    ("rates", "winner", "words"),
    [
        ([200.0] * 8, "b", "b is faster: 2.00× a"),
        ([50.0] * 8, "a", "a is faster: 2.00× b"),
        ([101.0, 99.0] * 4, None, "no difference beyond the spread"),
        ([200.0] * 3, None, "too few rounds to tell"),
    ],
)
def test_who_is_faster_in_a_plain_sentence(rates: list[float], winner: str | None, words: str) -> None:
    one = blank("a", measurements=[measured("pipeline", 4, *[100.0] * len(rates)), measured("engine", 1, 5.0)])
    two = blank("b", measurements=[measured("pipeline", 4, *rates), measured("engine", 2, 5.0)])
    (found,) = comparisons([one, two])
    assert (found.level, found.batch, found.label, found.winner) == ("pipeline", 4, "b", winner)
    assert found.sentence.startswith(words)
    assert f"over {len(rates)} rounds" in found.sentence
