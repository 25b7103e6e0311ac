# SPDX-License-Identifier: Apache-2.0
"""The check of sustained load, without a GPU: how it compares, and that its own reader of NVML reads what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edged.monitor.ledger.record import Minute
from edged.monitor.ledger.sample import Latencies, Sample
from edged.monitor.ledger.totals import Totals
from tools.gpu.nvml_log import Row, read_rows
from tools.gpu.rig import ROOT
from tools.gpu.sustained import carried_on, compared, independent, one, side_by_side

# A library with the five functions that the reader calls, each with its answer.
_LIBRARY = """
#define OK 0
int nvmlInit_v2(void) { return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)7; return i; }
int nvmlDeviceGetTemperature(void *h, int s, unsigned *v) { *v = 61; return h == (void *)7 ? s : 99; }
int nvmlDeviceGetPowerUsage(void *h, unsigned *v) { *v = 512345; return OK; }
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *v) { *v = 123456789012ULL; return OK; }
int nvmlDeviceGetClockInfo(void *h, int k, unsigned *v) { return 3; }
"""


def minute(
    number: int, *, temperature: float = 60.0, watts: float = 500.0, series: str = "s", seconds: int = 60
) -> Minute:
    totals = Totals()
    for _ in range(seconds):
        gauges = {"temperature_c": temperature, "power_w": watts}
        totals.add(Totals.of(Sample(1.0, 1.0, 2000, Latencies.of([9.0] * 2000), gauges, watts)))
    start = 60_000_000 * number
    return Minute("run", series, number, "boot", "subject", start, start + 1_000_000 * seconds, 0, 2_000_000, totals)


def rows(begin: float, seconds: int, *, temperature: float = 60.0, watts: float = 500.0) -> list[Row]:
    times = [begin + 0.5 * index for index in range(2 * seconds + 1)]
    return [Row(at, temperature, watts, watts * at, 1980.0) for at in times]


def test_what_agrees_agrees_and_what_does_not_is_named() -> None:
    good = one(minute(2), rows(120, 60))
    assert (good["ok"], good["apart"], good["readings"]) == (True, [], 121)
    assert good["joules_a_frame"] == [0.25, 0.25]
    assert one(minute(2), rows(120, 60, temperature=61.2))["apart"] == ["celsius"]
    assert one(minute(2), rows(120, 60, watts=530.0))["apart"] == ["watts", "joules_a_frame"]
    assert not one(minute(2), [])["ok"]
    blind = [row._replace(energy_j=None) for row in rows(120, 60)]
    assert one(minute(2), blind)["apart"] == ["joules_a_frame"]


def test_a_run_needs_its_minutes() -> None:
    taken = rows(0, 400)
    assert compared([minute(1), minute(2), minute(3, seconds=20)], taken, 3.0)["ok"]
    assert not compared([minute(1)], taken, 3.0)["ok"]
    assert not compared([], taken, 1.0)["ok"]


@pytest.mark.parametrize(
    ("before", "new", "ok"),
    [
        ([], [minute(1)], True),
        ([minute(1)], [minute(2)], True),
        ([minute(1)], [minute(2, series="other")], False),
        ([minute(1)], [minute(40, series="other")], True),
        ([minute(1)], [], False),
    ],
)
def test_the_second_run_goes_on_from_the_first(before: Sequence[Minute], new: Sequence[Minute], ok: bool) -> None:
    assert carried_on(before, new)["ok"] is ok


def test_the_figures_of_the_bench_are_read(tmp_path: Path) -> None:
    stretch = {"name": "minute 1", "frames_per_s": 2000.0, "seconds": 60.0}
    run = {
        "course": {"frames_per_s": [None, *[2010.0] * 61]},
        "minutes": [stretch],
        "first": stretch,
        "last": stretch,
        "steady": None,
        "ratio": 1.0,
    }
    (tmp_path / "sustained-figures.json").write_text(json.dumps({"contestants": [{"sustained": run}]}))
    found = side_by_side(tmp_path)
    assert found["ok"]
    assert found["first"]["name"] == "minute 1"
    assert found["steady"]["name"] is None


def test_the_reader_asks_the_library_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "nvml.c"
    source.write_text(_LIBRARY)
    library = tmp_path / "libnvidia-ml.so.1"
    compiler = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    try:
        subprocess.run(compiler, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a C compiler: {error}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    log = tmp_path / "log"
    with independent(log):
        wait = f"import time, pathlib\np = pathlib.Path({str(log)!r})\n"
        wait += "end = time.monotonic() + 20\n"
        wait += (
            "while time.monotonic() < end and not (p.exists() and p.read_text().count(chr(10)) > 1): time.sleep(0.02)"
        )
        subprocess.run([sys.executable, "-c", wait], check=True, timeout=30)
    first, second = read_rows(log)[:2]
    assert (first.temperature_c, first.power_w, first.energy_j, first.clock_mhz) == (61.0, 512.345, 123456789.012, None)
    assert 0.4 < second.at_s - first.at_s < 5


def test_without_a_driver_the_reader_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.gpu.nvml_log", str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "no NVML here" in done.stderr
