# SPDX-License-Identifier: Apache-2.0
"""A minute as it stands on disk: one line, which proves by its checksum that it is whole.

    <CRC-32 of what follows the space, eight hexadecimal digits> <JSON object>

Version 1 of the object, all numbers whole: ``v`` 1 · ``run`` of the daemon · ``series`` and ``n``, see `Minute` ·
``boot`` of the kernel · ``subject`` · ``t`` [start, end], microseconds of the monotonic clock · ``wall`` Unix seconds ·
``peak`` mHz · ``us`` time covered · ``frames`` · ``lat`` [count, Σ µs, Σ µs²] · ``bins`` [bin, count, bin, count …] ·
``gauges`` {name: [µs, Σ thousandths·µs, lowest, highest]} · ``energy`` [µJ, frames] · ``causes`` {name: µs}.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from edged.monitor.ledger.bins import BINS
from edged.monitor.ledger.sample import GAUGES
from edged.monitor.ledger.totals import MOST_CAUSES, Totals

VERSION = 1
_HEAD = 9
LONGEST_LINE = 24 * 1024
"""No line is longer, whatever a minute held."""


class DamagedError(ValueError):
    """The line is not what was written."""


class NewerError(ValueError):
    """A later version of edged wrote the line."""


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of a run of the daemon.

    Attributes:
        run: which run, a word of its own.
        series: the runs that carry on the same heat: same subject, same boot of the kernel, short pauses.
        number: of the minute in its series, from 1; 0 for one that was seen for less than half.
        boot: word for the boot of the kernel; only within one do the times of minutes compare.
        subject: word for what was being done (engine, sources …): only peaks of the same subject compare.
        start_us: monotonic clock, microseconds.
        end_us: when it was over; earlier than a minute later if the run ended.
        wall_s: Unix time of its end, a label.
        peak_mhz: highest throughput of any full minute of this subject until then, thousandths of frames a second.
        totals: what happened.
    """

    run: str
    series: str
    number: int
    boot: str
    subject: str
    start_us: int
    end_us: int
    wall_s: int
    peak_mhz: int
    totals: Totals


def encode(minute: Minute) -> bytes:
    """The line, with its end."""
    totals = minute.totals
    gauges = zip(GAUGES, totals.gauge_us, totals.gauge_sum, totals.low, totals.high, strict=True)
    body = {
        "v": VERSION,
        "run": minute.run,
        "series": minute.series,
        "n": minute.number,
        "boot": minute.boot,
        "subject": minute.subject,
        "t": [minute.start_us, minute.end_us],
        "wall": minute.wall_s,
        "peak": minute.peak_mhz,
        "us": totals.covered_us,
        "frames": totals.frames,
        "lat": totals.latencies,
        "bins": [word for pair in sorted(totals.bins.items()) for word in pair],
        "gauges": {name: rest for name, *rest in gauges if rest[0]},
        "energy": totals.energy,
        "causes": totals.causes,
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(data), data)


def is_whole(line: bytes) -> bool:
    """Whether the checksum is that of the rest; a microsecond, where `decode` takes fifty."""
    return line[:_HEAD] == b"%08x " % crc32(memoryview(line.rstrip(b"\n"))[_HEAD:])


def decode(line: bytes) -> Minute:
    """Read a line, with or without its end.

    Raises:
        DamagedError: it was cut short, overwritten or never a minute.
        NewerError: its version is not known here.
    """
    if not is_whole(line):
        raise DamagedError("checksum")
    try:
        body = json.loads(line[_HEAD:])
        if body["v"] > VERSION:
            raise NewerError(str(body["v"]))
        start_us, end_us = body["t"]
        return Minute(
            run=body["run"],
            series=body["series"],
            number=body["n"],
            boot=body["boot"],
            subject=body["subject"],
            start_us=start_us,
            end_us=end_us,
            wall_s=body["wall"],
            peak_mhz=body["peak"],
            totals=_totals(body),
        )
    except (DamagedError, NewerError):
        raise
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise DamagedError(str(error)) from error


def _totals(body: dict[str, Any]) -> Totals:
    totals = Totals()
    totals.covered_us = body["us"]
    totals.frames = body["frames"]
    count, total, squares = body["lat"]
    totals.latencies = (count, total, squares)
    words = iter(body["bins"])
    totals.bins = {index: number for index, number in zip(words, words, strict=True) if 0 <= index < BINS}
    for cell, name in enumerate(GAUGES):
        if name in body["gauges"]:
            cells = (totals.gauge_us, totals.gauge_sum, totals.low, totals.high)
            for row, value in zip(cells, body["gauges"][name], strict=True):
                row[cell] = value
    energy_uj, energy_frames = body["energy"]
    totals.energy = (energy_uj, energy_frames)
    totals.causes = dict(list(body["causes"].items())[: MOST_CAUSES + 1])
    return totals
