# SPDX-License-Identifier: Apache-2.0
"""What the ledger says of any stretch is what a plain computation over all readings says."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, sqrt
from statistics import fmean

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.monitor.ledger.figures import Figures
from edged.monitor.ledger.ledger import Ledger
from edged.monitor.ledger.sample import GAUGES, Latencies, Sample

START = 5000.0


@dataclass(frozen=True)
class Plain:
    """A reading as it is before anything is summed."""

    end_s: float
    covers_s: float
    latencies_ms: list[float]
    temperature_c: float | None
    energy_j: float | None
    causes: tuple[str, ...]

    def sample(self) -> Sample:
        gauges = {"temperature_c": self.temperature_c, "power_w": None}
        latency = Latencies.of(self.latencies_ms)
        frames = len(self.latencies_ms)
        return Sample(self.end_s, self.covers_s, frames, latency, gauges, self.energy_j, self.causes)


_PART = st.tuples(
    st.integers(1000, 40_000),
    st.one_of(st.just(0), st.integers(0, 90_000)),
    st.lists(st.integers(10, 5_000_000), max_size=12),
    st.one_of(st.none(), st.integers(-20_000, 110_000)),
    st.one_of(st.none(), st.integers(0, 100_000)),
    st.sets(st.sampled_from(["thermal", "power_cap", "host_cpu"]), max_size=2),
)


@st.composite
def _readings(draw: st.DrawFn) -> list[Plain]:
    parts = draw(st.lists(_PART, min_size=1, max_size=120))
    readings, now_ms = [], round(1000 * START)
    for covers_ms, pause_ms, latencies_us, temperature, energy, causes in parts:
        now_ms += covers_ms + pause_ms
        readings.append(
            Plain(
                now_ms / 1000,
                covers_ms / 1000,
                [value / 1000 for value in latencies_us],
                None if temperature is None else temperature / 1000,
                None if energy is None else energy / 1000,
                tuple(sorted(causes)),
            )
        )
    return readings


def _check(found: Figures, expected: list[Plain]) -> None:
    covered = sum(reading.covers_s for reading in expected)
    latencies = sorted(value for reading in expected for value in reading.latencies_ms)
    assert isclose(found.covered_s, covered, abs_tol=1e-6)
    assert found.frames == len(latencies)
    assert (found.rate_hz is None) == (not expected)
    if expected:
        assert isclose(found.rate_hz or 0.0, len(latencies) / covered, rel_tol=1e-9)
    _check_latency(found, latencies)
    _check_device(found, expected)


def _check_latency(found: Figures, latencies: list[float]) -> None:
    assert (found.latency is None) == (not latencies)
    if found.latency is None:
        return
    mean = fmean(latencies)
    deviation = sqrt(fmean([(value - mean) ** 2 for value in latencies]))
    assert isclose(found.latency.mean, mean, abs_tol=0.0006)
    assert isclose(found.latency.deviation, deviation, abs_tol=0.001)
    for percent, reported in zip((50, 95, 99), (found.latency.p50, found.latency.p95, found.latency.p99), strict=True):
        exact = latencies[-(-len(latencies) * percent // 100) - 1]
        assert abs(reported - exact) <= 0.02 * exact


def _check_device(found: Figures, expected: list[Plain]) -> None:
    known = [(reading.temperature_c, reading.covers_s) for reading in expected if reading.temperature_c is not None]
    assert ("temperature_c" in found.gauges) == bool(known)
    if known:
        gauge, time_s = found.gauges["temperature_c"], sum(covers for _, covers in known)
        assert isclose(gauge.mean, sum(value * covers for value, covers in known) / time_s, abs_tol=1e-6)
        assert (gauge.low, gauge.high) == (min(value for value, _ in known), max(value for value, _ in known))
        assert isclose(gauge.covered_s, time_s, abs_tol=1e-6)
    powered = [reading for reading in expected if reading.energy_j is not None]
    frames = sum(len(reading.latencies_ms) for reading in powered)
    assert (found.energy_per_frame_j is None) == (frames == 0)
    if found.energy_per_frame_j is not None:
        energy = sum(reading.energy_j or 0.0 for reading in powered)
        assert isclose(found.energy_per_frame_j, energy / frames, abs_tol=1e-6)
    held = {cause for reading in expected for cause in reading.causes}
    assert set(found.held_back_s) == held
    for cause in held:
        exact = sum(reading.covers_s for reading in expected if cause in reading.causes)
        assert isclose(found.held_back_s[cause], exact, abs_tol=1e-6)


def _minutes(readings: list[Plain]) -> dict[int, list[Plain]]:
    first_us = round(1e6 * (readings[0].end_s - readings[0].covers_s))
    minutes: dict[int, list[Plain]] = {}
    for reading in readings:
        middle = (round(1e6 * (reading.end_s - reading.covers_s)) + round(1e6 * reading.end_s)) // 2
        minutes.setdefault((middle - first_us) // 60_000_000, []).append(reading)
    return minutes


@given(_readings(), st.integers(0, 700_000))
@settings(deadline=None, max_examples=150)
def test_windows_equal_a_plain_computation(readings: list[Plain], later_ms: int) -> None:
    ledger = Ledger(None, "subject", "boot")
    for reading in readings:
        ledger.add(reading.sample())
    now = readings[-1].end_s + later_ms / 1000
    windows = ledger.windows(now)
    _check(windows[1], [reading for reading in readings if reading.end_s > now - 60 + 1e-7])
    numbered = _minutes(readings)
    minutes = list(numbered.values())
    last_starts = readings[0].end_s - readings[0].covers_s + 60 * max(numbered)
    # The running minute ends when it is over; the others end with their last reading.
    for width in (10, 60):
        over = now - last_starts >= 120
        inside = [
            minute
            for number, minute in enumerate(minutes)
            if minute[-1].end_s > now - 60 * width + 1e-7 or (number == len(minutes) - 1 and not over)
        ]
        _check(windows[width], [reading for minute in inside for reading in minute])


@given(_readings())
@settings(deadline=None, max_examples=60)
def test_minutes_equal_a_plain_computation(readings: list[Plain]) -> None:
    ledger = Ledger(None, "subject", "boot")
    for reading in readings:
        ledger.add(reading.sample())
    ledger.close()
    minutes = list(_minutes(readings).values())[-60:]
    points = ledger.timeline(0.0, 1e9)[-60:]
    for point, minute in zip(points, minutes, strict=True):
        _check(point.figures, minute)
    numbered = [point for point in points if point.figures.covered_s >= 30.0]
    assert [point.number for point in numbered] == list(
        range(numbered[0].number, numbered[0].number + len(numbered)) if numbered else []
    )


def _steady(ledger: Ledger, start_s: float, seconds: int, rate: int) -> float:
    gauges = dict.fromkeys(GAUGES, 50.0)
    for second in range(1, seconds + 1):
        ledger.add(Sample(start_s + second, 1.0, rate, Latencies.of([10.0] * rate), gauges))
    return start_s + seconds


def test_peak_against_sustained() -> None:
    ledger = Ledger(None, "subject", "boot")
    now = _steady(ledger, START, 40, 20)
    assert ledger.sustained(now) is None
    now = _steady(ledger, now, 50, 20)
    now = _steady(ledger, now, 120, 5)
    sustained = ledger.sustained(now)
    assert sustained is not None
    assert (sustained.peak_hz, sustained.now_hz, sustained.ratio) == (20.0, 5.0, 0.25)
    assert ledger.sustained(now + 600) is None


def test_first_and_thirtieth_minute_side_by_side_without_a_disk() -> None:
    ledger = Ledger(None, "subject", "boot")
    now = START
    for minute in range(1, 101):
        ledger.add(Sample(now + 60, 60.0, 60 * minute))
        now += 60
    ledger.close()
    table = ledger.minute_table(1, 30, 35, 99, 101, 0)
    rates = {number: figures.rate_hz if figures else None for number, figures in table.items()}
    assert rates == {1: 1.0, 30: 30.0, 35: None, 99: 99.0, 101: None, 0: None}


def test_readings_out_of_order_are_left_out() -> None:
    ledger = Ledger(None, "subject", "boot")
    for at_s, covers_s in ((10.0, 1.0), (9.0, 1.0), (10.0, 1.0), (11.0, 0.0), (float("nan"), 1.0), (12.0, 1.0)):
        ledger.add(Sample(at_s, covers_s, 1))
    assert ledger.ignored == 4
    assert ledger.windows(12.0)[1].frames == 2


def test_single_readings_for_plots() -> None:
    ledger = Ledger(None, "subject", "boot")
    for second in range(1, 4001):
        ledger.add(Sample(float(second), 1.0, 2, gauges={"temperature_c": 40.0}, causes=("thermal",)))
    moments = ledger.recent(0.0, 5000.0)
    assert len(moments) == 3600
    assert [moment.at_s for moment in moments[:2]] == [401.0, 402.0]
    assert ledger.recent(500.0, 501.0)[0].rate_hz == 2.0
    assert moments[-1].power_w != moments[-1].power_w
    assert (moments[-1].temperature_c, moments[-1].held_back) == (40.0, 1.0)
