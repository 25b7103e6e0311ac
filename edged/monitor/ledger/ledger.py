# SPDX-License-Identifier: Apache-2.0
"""The ledger: what the device really delivered over the last 1, 10 and 60 minutes, and at its best."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from zlib import crc32

from edged.monitor.ledger.figures import Figures, figures
from edged.monitor.ledger.keeper import Keeper, Notice
from edged.monitor.ledger.moments import Moment, Moments
from edged.monitor.ledger.record import Minute
from edged.monitor.ledger.sample import Sample
from edged.monitor.ledger.segments import append
from edged.monitor.ledger.sliding import Sliding, Slot
from edged.monitor.ledger.totals import Totals

MINUTE_US = 60_000_000
_SECOND_US = 950_000
"""Readings closer together than this are one slot: at most 64 of them make a minute."""
PAUSE_US = 10 * MINUTE_US
"""A device that paused for longer has cooled: its next minute is minute 1."""
_FULL_US = 54_000_000
"""Of a minute seen, for its rate to count as a peak or as sustained."""
_NUMBERED_US = MINUTE_US // 2
_IN_MEMORY = 62
_FIRST = 30


@dataclass(frozen=True, slots=True)
class Sustained:
    """What became of the best minute.

    Attributes:
        peak_hz: highest throughput of any 60 s with this subject, restarts included, frames a second.
        now_hz: of the last 60 s.
        ratio: ``now_hz / peak_hz``, 0 to 1; None where nothing ever went out.
    """

    peak_hz: float
    now_hz: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """A minute of the timeline.

    Attributes:
        start_s: monotonic clock, seconds.
        end_s: when it was over.
        wall_s: Unix time of its end, a label.
        number: in its series, see `edged.monitor.ledger.record.Minute`.
        figures: what happened.
    """

    start_s: float
    end_s: float
    wall_s: int
    number: int
    figures: Figures


class Ledger:
    """Takes readings, tells figures, keeps minutes.

    It looks at no clock: all times are of the monotonic clock and come with the calls; those of one boot of the kernel
    go on over restarts of the daemon. Figures go on without the disk.

    Args:
        folder: ``<state_dir>/ledger``; None keeps nothing over a restart.
        subject: what is being done, for instance engine key and sources: only peaks of the same subject compare.
        boot: of the kernel; None looks it up.
        append: appends a line in a folder, or raises OSError; `edged.monitor.ledger.behind.Behind` never waits.

    Attributes:
        ignored: readings that were left out, since they did not come after the one before.
    """

    def __init__(
        self,
        folder: Path | None,
        subject: str,
        boot: str | None = None,
        append: Callable[[Path, bytes], None] = append,
    ) -> None:
        self._keeper = Keeper(folder, append)
        self._subject = _word(subject)
        self._boot = _word(boot if boot is not None else boot_id())
        self._run = self._series = os.urandom(6).hex()
        self._number = 0
        self._peak_mhz = 0
        self._last_us = -1
        self._carried = False
        self._wall_s = 0
        self._windows = {1: Sliding(60), 10: Sliding(600), 60: Sliding(3600)}
        self._second = Slot(0, 0, Totals())
        self._minute = Slot(0, 0, Totals())
        self._minutes: deque[Minute] = deque(maxlen=_IN_MEMORY)
        self._first: dict[int, Minute] = {}
        self._moments = Moments()
        self.ignored = 0

    def carry_on(self, at_s: float) -> None:
        """Take up what earlier runs left before there is a reading; else the first one does that."""
        if not self._carried:
            self._carried = True
            self._begin(round(1e6 * at_s))

    def add(self, sample: Sample) -> None:
        """Take in a reading; times that do not follow the last reading's are left out and counted."""
        if not (isfinite(sample.at_s) and isfinite(sample.covers_s) and sample.covers_s > 0):
            self.ignored += 1
            return
        now_us, start_us = round(1e6 * sample.at_s), round(1e6 * (sample.at_s - sample.covers_s))
        if now_us <= self._last_us:
            self.ignored += 1
            return
        if self._last_us < 0:
            self.carry_on(start_us / 1e6)
            self._minute = Slot(start_us, start_us, Totals())
        self._last_us, self._wall_s = now_us, int(sample.wall_s)
        # Every minute of a run has its place on a grid; a reading belongs where its middle lies.
        passed = ((start_us + now_us) // 2 - self._minute.start_us) // MINUTE_US
        if passed > 0:
            self._end_minute()
            begin = self._minute.start_us + passed * MINUTE_US
            self._minute = Slot(begin, begin, Totals())
        totals = Totals.of(sample)
        for window in self._windows.values():
            window.add(totals)
        self._minute.totals.add(totals)
        self._minute = self._minute._replace(end_us=now_us)
        self._add_to_second(start_us, now_us, totals)
        self._moments.add(sample)
        self._note_peak(now_us)

    def windows(self, now_s: float) -> dict[int, Figures]:
        """What happened over the last 1, 10 and 60 minutes, by their number.

        The first is made of seconds, the others of whole minutes and the running one: they reach back further than
        they are wide by less than a minute.
        """
        self._settle(now_s)
        running = {1: self._second.totals, 10: self._minute.totals, 60: self._minute.totals}
        return {minutes: window.figures(running[minutes]) for minutes, window in self._windows.items()}

    def sustained(self, now_s: float) -> Sustained | None:
        """Peak against now; None until a whole minute was seen, and while the last one was not."""
        self._settle(now_s)
        window = self._windows[1]
        frames, covered_us = window.rate
        if covered_us < _FULL_US:
            return None
        now_hz, peak_hz = 1e6 * frames / covered_us, self._peak_mhz / 1000
        peak_hz = max(peak_hz, now_hz)
        return Sustained(peak_hz, now_hz, now_hz / peak_hz if peak_hz else None)

    def minute_table(self, *numbers: int) -> dict[int, Figures | None]:
        """Minutes of this series side by side, by their number from 1; None for one that is not on record.

        The first 30 and the last 60 are in memory; others are looked up on disk (0.2 s when it is full).
        """
        held = self._first | {minute.number: minute for minute in self._minutes if minute.series == self._series}
        table: dict[int, Figures | None] = {}
        for number in numbers:
            minute = held.get(number) or (self._keeper.of_series(self._series, number) if number > 0 else None)
            table[number] = figures(minute.totals) if minute else None
        return table

    def timeline(self, from_s: float, to_s: float) -> list[Point]:
        """The whole minutes of this boot that begin in a stretch of time, oldest first; earlier runs included."""
        from_us, to_us = round(1e6 * from_s), round(1e6 * to_s)
        held = {minute.start_us: minute for minute in self._minutes if from_us <= minute.start_us < to_us}
        edge = min(to_us, self._minutes[0].start_us) if self._minutes else to_us
        older: Iterator[Minute] = iter(())
        if from_us < edge:
            older = self._keeper.between(self._boot, from_us, edge)
        points = {minute.start_us: _point(minute) for minute in older}
        points |= {start_us: _point(minute) for start_us, minute in held.items()}
        return [points[start_us] for start_us in sorted(points)]

    def recent(self, from_s: float, to_s: float) -> list[Moment]:
        """Single readings of this run, of the last 3600 at most, oldest first."""
        return self._moments.between(from_s, to_s)

    def take_notices(self) -> list[Notice]:
        """What is to be told since the last call, for instance that history cannot be kept."""
        return self._keeper.take_notices()

    def close(self) -> None:
        """Keep the minute that is not over; later readings begin another."""
        self._end_minute()
        self._minute = Slot(self._minute.end_us, self._minute.end_us, Totals())

    def _begin(self, start_us: int) -> None:
        """Carry on what earlier runs left, as far as it compares."""
        past = self._keeper.newest(_IN_MEMORY)
        peaks = [minute.peak_mhz for minute in past if minute.subject == self._subject]
        self._peak_mhz = max(peaks, default=0)
        # A monotonic clock that stands before what was written is another one, whatever its boot is called.
        same_boot = [minute for minute in past if minute.boot == self._boot and minute.end_us <= start_us + 1_000_000]
        for minute in same_boot:
            self._minutes.append(minute)
            for window in (self._windows[10], self._windows[60]):
                window.add(minute.totals)
                window.keep(Slot(minute.start_us, minute.end_us, minute.totals))
        last = same_boot[-1] if same_boot else None
        if last and last.subject == self._subject and start_us - last.end_us <= PAUSE_US:
            self._series = last.series
            self._number = max(minute.number for minute in same_boot if minute.series == last.series)

    def _settle(self, now_s: float) -> None:
        """End what is long over although no reading has come since, and let the windows slide."""
        now_us = max(round(1e6 * now_s), self._last_us)
        if now_us - self._second.start_us >= _SECOND_US:
            self._end_second()
        if now_us - self._minute.start_us >= 2 * MINUTE_US:
            self.close()
        for window in self._windows.values():
            window.expire(now_us)

    def _add_to_second(self, start_us: int, now_us: int, totals: Totals) -> None:
        second = self._second
        if second.end_us == 0:
            second = Slot(start_us, now_us, totals)
        else:
            second.totals.add(totals)
            second = second._replace(end_us=now_us)
        self._second = second
        if now_us - second.start_us >= _SECOND_US:
            self._end_second()

    def _end_second(self) -> None:
        if self._second.end_us:
            self._windows[1].keep(self._second)
            self._second = Slot(0, 0, Totals())

    def _note_peak(self, now_us: int) -> None:
        window = self._windows[1]
        window.expire(now_us)
        frames, covered_us = window.rate
        if covered_us >= _FULL_US:
            self._peak_mhz = max(self._peak_mhz, 1_000_000_000 * frames // covered_us)

    def _end_minute(self) -> None:
        start_us, end_us, totals = self._minute
        if not totals.covered_us:
            return
        for window in (self._windows[10], self._windows[60]):
            window.keep(self._minute)
            window.expire(end_us)
        number = 0
        if totals.covered_us >= _NUMBERED_US:
            number = self._number = self._number + 1
        minute = Minute(
            run=self._run,
            series=self._series,
            number=number,
            boot=self._boot,
            subject=self._subject,
            start_us=start_us,
            end_us=end_us,
            wall_s=self._wall_s,
            peak_mhz=self._peak_mhz,
            totals=totals,
        )
        self._minutes.append(minute)
        if 0 < number <= _FIRST:
            self._first[number] = minute
        self._keeper.keep(minute)


def boot_id() -> str:
    """A word for this boot of the kernel; empty where it tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _word(text: str) -> str:
    """A short word for a text, for comparing."""
    return f"{crc32(text.encode()):08x}"


def _point(minute: Minute) -> Point:
    return Point(minute.start_us / 1e6, minute.end_us / 1e6, minute.wall_s, minute.number, figures(minute.totals))
