# SPDX-License-Identifier: Apache-2.0
"""Sustained: the daemon at full load for minutes, its ledger beside readings that nothing of edged has made.

Run it twice within ten minutes: the second run goes on in the ledger of the first, with the numbers of its minutes. The
table of minutes lies in ``sustained.txt``, the plot in ``sustained.svg``, the figures in ``sustained-figures.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from edged.bench.sustained import BENCH_LEDGER
from edged.engine.store import model_folder, read_current, read_engine
from edged.errors import EdgedError
from edged.monitor.ledger.figures import figures
from edged.monitor.ledger.history import read
from edged.monitor.ledger.record import Minute
from tools.gpu.building import build_all
from tools.gpu.nvml_log import Row, read_rows
from tools.gpu.results import attempt
from tools.gpu.rig import ROOT, spec_of

MODEL, PRECISION, BATCH = "resnet50-640", "fp16", 32
"""640×640 frames: enough work for the GPU at a rate that capture and publish keep up with."""
DEGREES, POWER, ENERGY, FRAMES = 1.0, 0.05, 0.05, 0.05
_WHOLE_S = 54.0
_PAUSE_US = 600_000_000
_SLACK_S = 150.0
"""Beyond the load itself: starting, loading the engine, drawing."""


def sustained(folder: Path, minutes: float = 6.0, data: Path | None = None) -> dict[str, Any]:
    """Load for so many minutes, and compare minute by minute.

    Args:
        folder: with the models and the store.
        minutes: of load.
        data: see `tools.gpu.building.build_all`.
    """
    results: dict[str, Any] = {}
    attempt(results, "sensors", sensors)
    if not results["sensors"]["ok"]:
        return results
    if not _built(folder):
        attempt(results, "engine", lambda: build_all(folder, [f"{MODEL}-{PRECISION}"], data))
    ledger, log = folder / "state" / BENCH_LEDGER, folder / "nvml.log"
    before = list(read(ledger))
    log.unlink(missing_ok=True)
    with independent(log):
        attempt(results, "load", lambda: load(folder, minutes))
    known = {(minute.run, minute.start_us) for minute in before}
    new = [minute for minute in read(ledger) if (minute.run, minute.start_us) not in known]
    attempt(results, "ledger", lambda: compared(new, read_rows(log), minutes))
    attempt(results, "carried-on", lambda: carried_on(before, new))
    attempt(results, "side-by-side", lambda: side_by_side(folder))
    return results


def sensors() -> dict[str, Any]:
    """One reading by edged's own sensors: without it the rest would show nothing, minutes later."""
    from edged.runtime.monitoring import open_sensors

    machine = open_sensors("")
    try:
        reading = machine.read()
    finally:
        machine.close()
    gpu = {sensor.kind: sensor.value for sensor in reading.sensors if sensor.name == "gpu"}
    unknown = [f"{each.name} {each.kind}: {each.reason}" for each in reading.unknown]
    print("gpu", gpu, "unknown", unknown, "counters", reading.counters, "flags", reading.flags, flush=True)
    return {
        "ok": {"temperature", "power"} <= gpu.keys(),
        "target": "temperature and power of the GPU",
        **{kind: round(value, 1) for kind, value in gpu.items()},
        "unknown": "; ".join(unknown)[:600],
    }


def _built(folder: Path) -> bool:
    try:
        engines = model_folder(folder / "state", MODEL)
        key = read_current(engines).engines.get(f"tensorrt/{PRECISION}")
        return key is not None and read_engine(engines, key).path.is_file()
    except EdgedError:
        return False


@contextmanager
def independent(log: Path) -> Iterator[None]:
    """Readings twice a second for as long as the block lasts."""
    command = [sys.executable, "-m", "tools.gpu.nvml_log", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def load(folder: Path, minutes: float) -> dict[str, Any]:
    """``edged bench --sustained`` as users run it."""
    found = folder / "sustained-figures.json"
    found.unlink(missing_ok=True)
    seconds = round(60 * minutes)
    command = [sys.executable, "-m", "edged", "bench", str(spec_of(folder, MODEL)), "--sustained", f"{seconds}s"]
    command += ["--backend", "tensorrt", "--precision", PRECISION, "--batch", str(BATCH)]
    command += ["--state-dir", str(folder / "state"), "--json", str(found), "--plot", str(folder / "sustained.svg")]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        timeout=seconds + _SLACK_S,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    (folder / "sustained.txt").write_text(ended.stdout)
    print(ended.stdout[-6000:], flush=True)
    kept = found.is_file() and (folder / "sustained.svg").is_file()
    return {
        "ok": ended.returncode == 0 and kept,
        "target": "exit 0, figures and plot",
        "code": ended.returncode,
        "said": ended.stdout[-1500:],
    }


def compared(minutes: Sequence[Minute], rows: Sequence[Row], wanted: float) -> dict[str, Any]:
    """Every whole minute of the ledger against the readings of the same time."""
    whole = [minute for minute in minutes if minute.totals.covered_us >= _WHOLE_S * 1e6]
    found = {f"minute-{minute.number}": one(minute, rows) for minute in whole}
    enough = len(whole) >= int(wanted) - 1
    target = f"±{DEGREES:g} °C, ±{POWER:.0%} power, ±{ENERGY:.0%} energy a frame"
    return {"ok": enough and bool(whole), "target": target, "minutes": len(whole), "readings": len(rows), **found}


def one(minute: Minute, rows: Sequence[Row]) -> dict[str, Any]:
    """One minute: the ledger's figure and the independent one, each with whether they agree."""
    ledger = figures(minute.totals)
    begin, end = minute.start_us / 1e6, minute.end_us / 1e6
    inside = [row for row in rows if begin <= row.at_s <= end]
    temperature, power = ledger.gauges.get("temperature_c"), ledger.gauges.get("power_w")
    pairs: dict[str, tuple[float | None, float | None]] = {
        "celsius": (temperature and temperature.mean, _mean([row.temperature_c for row in inside])),
        "watts": (power and power.mean, _mean([row.power_w for row in inside])),
        "joules_a_frame": (ledger.energy_per_frame_j, _joules_a_frame(inside, minute)),
    }
    limits = {"celsius": DEGREES, "watts": POWER, "joules_a_frame": ENERGY}
    agree = {name: _agree(*pair, limits[name], relative=name != "celsius") for name, pair in pairs.items()}
    return {
        "ok": all(agree.values()),
        "frames_per_s": ledger.rate_hz and round(ledger.rate_hz, 1),
        **{name: [_short(value) for value in pair] for name, pair in pairs.items()},
        "apart": [name for name, same in agree.items() if not same],
        "readings": len(inside),
    }


def _joules_a_frame(rows: Sequence[Row], minute: Minute) -> float | None:
    """Energy between the first and the last reading, over the frames of that part of the minute."""
    known = [(row.at_s, row.energy_j) for row in rows if row.energy_j is not None]
    if len(known) < 2 or minute.totals.frames == 0:
        return None
    (begin, first), (end, last) = known[0], known[-1]
    rate = 1e6 * minute.totals.frames / minute.totals.covered_us
    return (last - first) / (end - begin) / rate


def _agree(ledger: float | None, other: float | None, limit: float, *, relative: bool) -> bool:
    if ledger is None or other is None:
        return False
    return abs(ledger - other) <= (limit * other if relative else limit)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def carried_on(before: Sequence[Minute], new: Sequence[Minute]) -> dict[str, Any]:
    """Whether this run went on from the last one, where it had to."""
    if not new:
        return {"ok": False, "error": "nothing was kept"}
    last, first = before[-1] if before else None, new[0]
    near = last is not None and last.boot == first.boot and 0 <= first.start_us - last.end_us <= _PAUSE_US
    due = near and last is not None and last.subject == first.subject
    went_on = last is not None and first.series == last.series
    return {
        "ok": went_on if due else True,
        "target": "a second run within ten minutes goes on",
        "went_on": went_on,
        "earlier_minutes": len(before),
        "numbers": [minute.number for minute in new],
        "peak_hz": max(minute.peak_mhz for minute in new) / 1000,
    }


def side_by_side(folder: Path) -> dict[str, Any]:
    """The first and the last minute of the series, as ``edged bench`` found them; and that the rates are the same."""
    run = json.loads((folder / "sustained-figures.json").read_text())["contestants"][0]["sustained"]
    names = ["name", "frames_per_s", "p50_ms", "p99_ms", "temperature_c", "gpu_clock_mhz", "power_w"]
    names += ["energy_per_frame_j", "held_back_s"]
    rates = [rate for rate in run["course"]["frames_per_s"] if rate is not None]
    whole = [minute["frames_per_s"] for minute in run["minutes"] if minute["seconds"] >= _WHOLE_S]
    counted, kept = fmean(rates) if rates else 0.0, fmean(whole[-int(len(rates) // 60) :]) if whole else 0.0
    return {
        "ok": kept > 0 and abs(kept - counted) <= FRAMES * counted,
        "target": f"frames counted by publish within {FRAMES:.0%} of the ledger's",
        "frames_per_s": [round(kept, 1), round(counted, 1)],
        "ratio": run["ratio"],
        **{which: {name: (run[which] or {}).get(name) for name in names} for which in ("first", "last", "steady")},
    }
