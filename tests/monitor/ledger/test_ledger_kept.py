# SPDX-License-Identifier: Apache-2.0
"""The ledger goes on over restarts, and loses of a damaged file only what is damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.monitor.ledger.history import Findings, read
from edged.monitor.ledger.ledger import Ledger
from edged.monitor.ledger.record import LONGEST_LINE, DamagedError, Minute, NewerError, decode, encode
from edged.monitor.ledger.sample import GAUGES, Latencies, Sample
from edged.monitor.ledger.segments import MOST_BYTES, append, lines, segments
from edged.monitor.ledger.totals import Totals

START = 1000.0


def _run(
    folder: Path,
    start_s: float,
    minutes: float,
    *,
    rate: int = 10,
    subject: str = "a",
    boot: str = "b",
    wall_s: float = 0,
) -> Ledger:
    """One run of the daemon that stopped as asked."""
    ledger = Ledger(folder, subject, boot)
    _go_on(ledger, start_s, minutes, rate, wall_s)
    ledger.close()
    return ledger


def _go_on(ledger: Ledger, start_s: float, minutes: float, rate: int, wall_s: float = 0) -> float:
    for tens in range(1, round(6 * minutes) + 1):
        latency = Latencies.of([5.0] * rate)
        gauges = {"temperature_c": 60.0, "power_w": 10.0}
        at_s = start_s + 10 * tens
        ledger.add(Sample(at_s, 10.0, 10 * rate, latency, gauges, causes=("thermal",), wall_s=wall_s))
    return start_s + 60 * minutes


def test_a_restart_carries_windows_numbers_and_peak_on(tmp_path: Path) -> None:
    _run(tmp_path, START, 6, rate=20)
    ledger = Ledger(tmp_path, "a", "b")
    now = _go_on(ledger, START + 360 + 30, 6, 10)
    windows = ledger.windows(now)
    assert windows[60].covered_s == 720.0
    assert windows[60].frames == 6 * 60 * 20 + 6 * 60 * 10
    assert windows[60].held_back_s == {"thermal": 720.0}
    assert windows[1].covered_s == 60.0
    ledger.close()
    table = ledger.minute_table(1, 6, 7, 12, 13)
    assert [figures and figures.rate_hz for figures in table.values()] == [20.0, 20.0, 10.0, 10.0, None]
    sustained = ledger.sustained(now)
    assert sustained is not None
    assert sustained.ratio == 0.5
    points = ledger.timeline(0.0, now)
    assert [point.number for point in points] == list(range(1, 13))
    assert [point.figures.frames for point in points] == [1200] * 6 + [600] * 6
    assert ledger.take_notices() == []


def test_windows_over_many_restarts_are_those_of_one_run(tmp_path: Path) -> None:
    now = START
    for _ in range(5):
        now = _go_on(ledger := Ledger(tmp_path / "pieces", "a", "b"), now, 3, 7)
        ledger.close()
    last = Ledger(tmp_path / "pieces", "a", "b")
    whole = Ledger(None, "a", "b")
    _go_on(whole, START, 15, 7)
    end = _go_on(last, now, 1, 7)
    _go_on(whole, now, 1, 7)
    assert last.windows(end)[60] == whole.windows(end)[60]
    assert last.windows(end)[10].rate_hz == whole.windows(end)[10].rate_hz


@pytest.mark.parametrize(
    ("subject", "boot", "pause_s", "minute_1", "peak"),
    [
        ("a", "b", 599.0, 20.0, 20.0),
        ("a", "b", 700.0, 10.0, 20.0),
        ("a", "after a reboot", 0.0, 10.0, 20.0),
        ("another engine", "b", 0.0, 10.0, 10.0),
        ("a", "b", -100.0, 10.0, 20.0),
    ],
)
def test_only_what_compares_is_carried_on(
    tmp_path: Path, subject: str, boot: str, pause_s: float, minute_1: float, peak: float
) -> None:
    _run(tmp_path, START, 2, rate=20)
    ledger = Ledger(tmp_path, subject, boot)
    now = _go_on(ledger, START + 120 + pause_s, 2, 10)
    ledger.close()
    figures = ledger.minute_table(1)[1]
    assert figures is not None
    assert figures.rate_hz == minute_1
    sustained = ledger.sustained(now)
    assert sustained is not None
    assert sustained.peak_hz == peak
    comparable = boot == "b" and pause_s >= 0
    assert ledger.windows(now)[60].covered_s == (240.0 if comparable else 120.0)


def test_jumps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    told = []
    for name, walls in (("steady", [0.0] * 8), ("jumping", [rng.uniform(-1e9, 4e9) for _ in range(8)])):
        ledger = Ledger(tmp_path / name, "a", "b")
        now = START
        for wall_s in walls:
            now = _go_on(ledger, now, 1.5, 10, wall_s)
        ledger.close()
        again = Ledger(tmp_path / name, "a", "b")
        end = _go_on(again, now, 2, 10, rng.uniform(-1e9, 4e9))
        timeline = [(point.start_s, point.number, point.figures) for point in again.timeline(0, end)]
        told.append((ledger.windows(now), again.windows(end), again.sustained(end), timeline))
    assert told[0] == told[1]


def test_an_old_minute_is_found_on_disk(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "a", "b")
    for minute in range(1, 201):
        ledger.add(Sample(START + 60 * minute, 60.0, 60 * minute))
    figures = ledger.minute_table(77)[77]
    assert figures is not None
    assert figures.rate_hz == 77.0
    assert [point.number for point in ledger.timeline(START + 60 * 98, START + 60 * 104)] == [
        99,
        100,
        101,
        102,
        103,
        104,
    ]


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_damage_costs_only_what_it_hits(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    _run(folder, START, 8)
    (path,) = segments(folder)
    content = bytearray(path.read_bytes())
    ends = [index for index, byte in enumerate(content) if byte == 10]
    begin = data.draw(st.integers(0, len(content) - 1), label="begin")
    length = data.draw(st.integers(1, 600), label="length")
    kind = data.draw(st.sampled_from(["cut", "zeros", "noise"]), label="kind")
    if kind == "cut":
        hit = {index for index, end in enumerate(ends) if end > begin}
        del content[begin:]
    else:
        stop = min(len(content), begin + length)
        noise = (
            bytes(stop - begin)
            if kind == "zeros"
            else data.draw(st.binary(min_size=stop - begin, max_size=stop - begin))
        )
        hit = {index for index in range(8) if begin <= ends[index] and (ends[index - 1] + 1 if index else 0) < stop}
        content[begin:stop] = noise
        # The end of a line that is lost costs the line after it as well.
        hit |= {index + 1 for index in range(7) if begin <= ends[index] < stop}
    path.write_bytes(content)
    findings = Findings()
    found = {minute.number for minute in read(folder, findings)}
    assert found >= {number for number in range(1, 9) if number - 1 not in hit}
    ledger = Ledger(folder, "a", "b")
    _go_on(ledger, START + 480, 1, 10)
    ledger.close()
    assert bool(ledger.take_notices()) == bool(findings.damaged)
    assert len(list(read(folder))) == len(found) + 1


def test_a_later_version_is_left_alone_and_said(tmp_path: Path) -> None:
    _run(tmp_path, START, 1)
    body = json.dumps({"v": 2, "anything": True}).encode()
    append(tmp_path, b"%08x %s\n" % (crc32(body), body))
    with pytest.raises(NewerError):
        decode(b"%08x %s" % (crc32(body), body))
    ledger = _run(tmp_path, START + 60, 1)
    assert [notice.text for notice in ledger.take_notices()] == [
        f"the ledger in {tmp_path} cannot all be read (1 min of a later version of edged); the rest is used"
    ]
    assert len(list(read(tmp_path))) == 2


def _worst_minute() -> Minute:
    totals = Totals.of(Sample(1e6, 3600.0, 10**9, Latencies(10**9, 10**18, 10**27, dict.fromkeys(range(472), 10**9))))
    for cells in (totals.gauge_us, totals.gauge_sum, totals.low, totals.high):
        cells[:] = [-(10**20)] * len(GAUGES)
    totals.causes = {f"{index:02}" + "é" * 30: 10**12 for index in range(17)}
    return Minute("r" * 12, "s" * 12, 10**6, "b" * 8, "c" * 8, 10**15, 10**15, 10**10, 10**9, totals)


def test_the_worst_minute_is_read_as_it_was_written() -> None:
    minute = _worst_minute()
    line = encode(minute)
    assert len(line) < LONGEST_LINE
    again = decode(line)
    assert encode(again) == line
    assert again.totals.bins == minute.totals.bins
    for wrong in (b"", b"0", b"00000000 ", line[:-5], line[1:], line.replace(b'"v":1', b'"v":0')):
        with pytest.raises(DamagedError):
            decode(wrong)
    for body in (b"[]", b"{}", b'{"v":"1"}', b'{"v":1}', b"[" * 5000):
        with pytest.raises(DamagedError):
            decode(b"%08x %s" % (crc32(body), body))


def test_files_stay_within_the_bound_over_thirty_days(tmp_path: Path) -> None:
    line = encode(_worst_minute())
    largest = 0
    for minute in range(30 * 24 * 60):
        append(tmp_path, line[: 400 + minute % 2000] + b"\n")
        if minute % 700 == 0:
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert 7 * 2**20 < largest <= MOST_BYTES
    assert len(segments(tmp_path)) == 16


def test_lines_that_never_end_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "minutes-00000001.log"
    path.write_bytes(b"a\n" + b"x" * 200_000 + b"\nb\n" + b"y" * 100_000)
    assert list(lines(path)) == [b"a", b"", b"b", b""]
    assert list(lines(tmp_path / "gone")) == []
