# SPDX-License-Identifier: Apache-2.0
"""``edged bench --sustained``: minute beside minute out of the ledger, the steady state, and the plot."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import msgspec
import pytest
from bench.bench_rig import SPEC
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from edged.bench.plot_sustained import write_sustained_plot
from edged.bench.report import Report
from edged.bench.report_sustained import Course, SustainedRun
from edged.bench.sustained import BENCH_LEDGER, _stretch, steady_state
from edged.bench.tables_sustained import sustained_parts
from edged.cli import main
from edged.monitor.ledger.history import read
from edged.monitor.ledger.record import Minute
from edged.monitor.ledger.sample import Latencies, Sample
from edged.monitor.ledger.totals import Totals


def minute(number: int, rate: float, temperature: float | None = None) -> Minute:
    latency = Latencies.of([20.0] * 10)
    gauges = {} if temperature is None else {"temperature_c": temperature, "power_w": 10.0}
    causes = ("thermal",) if temperature is not None and temperature > 90 else ()
    totals = Totals.of(Sample(60.0 * number, 60.0, round(60 * rate), latency, gauges, None, causes))
    start = 60_000_000 * number
    return Minute("r", "s", number, "b", "x", start, start + 60_000_000, 0, 100, totals)


def test_a_short_run_goes_on_in_the_ledger_of_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, path, picture = tmp_path / "state", tmp_path / "bench.json", tmp_path / "course.svg"
    # The daemon's own history stays as it is.
    flags = ["bench", str(SPEC), "--state-dir", str(state), "--backend", "onnxruntime", "--sustained", "2s"]
    assert main([*flags, "--json", str(path), "--plot", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "full load for" in out
    content = path.read_bytes()
    jsonschema.validate(json.loads(content), msgspec.json.schema(Report))
    report = msgspec.json.decode(content, type=Report)
    assert (report.complete, report.options.what, report.options.sustained_s) == (True, ("sustained",), 2.0)
    run = report.contestants[0].sustained
    assert run is not None
    assert run.seconds >= 2
    assert len(run.course.at_s) >= 2
    # A busy machine may let the daemon publish nothing for a second, but not for most of them.
    rates = sorted(rate or 0.0 for rate in run.course.frames_per_s)
    assert rates[len(rates) // 2] > 10
    assert ET.parse(picture).getroot().tag.endswith("svg")
    kept = list(read(state / BENCH_LEDGER))
    assert [each.number for each in kept] == [0]
    assert kept[0].totals.frames > 10
    assert not (state / "ledger").exists()


def test_minutes_side_by_side(tmp_path: Path) -> None:
    minutes = [minute(1, 100.0, 60.0), minute(2, 99.0, 80.0), *(minute(n, 80.0 + n % 2, 94.0) for n in range(3, 9))]
    steady = steady_state(minutes)
    assert steady is not None
    assert steady.frames_per_s == pytest.approx(80.5)
    assert steady.seconds == 360
    told = [_stretch(f"minute {each.number}", each.totals) for each in minutes]
    course = Course(
        at_s=[1.0, 2.0, 3.0],
        frames_per_s=[100.0, None, 80.0],
        temperature_c=[60.0, 61.0, None],
        gpu_clock_mhz=[None] * 3,
        cpu_clock_mhz=[2000.0] * 3,
        power_w=[None] * 3,
        held_back=[False, True, True],
    )
    run = SustainedRun(
        seconds=480.0,
        sources=("a",),
        first=told[0],
        last=told[-1],
        steady=steady,
        minutes=told,
        ratio=0.8,
        course=course,
    )
    console = Console(width=120, record=True, file=io.StringIO())
    for part in sustained_parts(run):
        console.print(part)
    text = console.export_text()
    for words in (
        "minute 1   minute 8   steady state",
        "temperature mean, °C",
        "minute 8 gives 80.0% of minute 1",
        "held back: thermal for 360 s",
        "power, W",
    ):
        assert words in text, text
    assert "GPU clock" not in text
    report = msgspec.json.decode(msgspec.json.encode(run), type=SustainedRun)
    assert report == run
    _plotted(run, tmp_path / "plot.svg")


def _plotted(run: SustainedRun, path: Path) -> None:
    class Named:
        model_id, precision, backend = "m", "int8", "tensorrt"

    write_sustained_plot(Named(), run, path)  # type: ignore[arg-type]  # all that it looks at
    text = path.read_text()
    # Text is drawn as outlines, each with the text in a comment.
    for words in ("CPU clock, MHz", "unknown", "frames/s"):
        assert f"<!-- {words} -->" in text


@given(st.lists(st.floats(0, 200), max_size=12))
@settings(deadline=None, max_examples=60)
def test_a_steady_state_is_the_longest_steady_tail(rates: list[float]) -> None:
    minutes = [minute(number, rate) for number, rate in enumerate(rates, 1)]
    found = steady_state(minutes)
    flat = [steady_state(minutes[start:]) is not None for start in range(max(0, len(minutes) - 2))]
    assert (found is not None) == any(flat)
    if found is not None:
        assert found.seconds >= 180
        assert found.seconds == 60 * (len(minutes) - flat.index(True)) or flat[0]


@pytest.mark.parametrize("text", ["30", "m", "-5m", "nan s", ""])
def test_a_time_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(SPEC), f"--sustained={text}"]) == 64
    assert "--sustained" in capsys.readouterr().err


def test_two_at_a_time_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--sustained", "1m", "--against", "onnxruntime/fp32", "--state-dir", str(tmp_path)]
    assert main(["bench", str(SPEC), *flags]) == 64
    assert "share its heat" in capsys.readouterr().err
