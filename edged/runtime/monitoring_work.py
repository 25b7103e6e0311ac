# SPDX-License-Identifier: Apache-2.0
"""What the pipeline did between two looks, read from shared memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from edged.monitor.governed import SourceRate
from edged.monitor.ledger.sample import NO_LATENCIES, Latencies
from edged.runtime.briefing import Prepared
from edged.runtime.rings import Rings
from edged.runtime.setup import SourceSetup
from edged.shm.board import INFER_ROW, INFER_STAGES
from edged.shm.frame_table import AGE_P99_US, CAPTURED
from edged.shm.tally import Counted

_SMOOTH_S = 10.0


class Done(NamedTuple):
    """The fields of `edged.monitor.monitor.Look` that tell of the work, in its order."""

    latency: Latencies
    offered_hz: float | None
    idle: float | None
    p99_ms: float | None
    sources: Sequence[SourceRate]


class Work:
    """Remembers what was counted at the look before."""

    def __init__(self) -> None:
        self._counted: Counted | None = None
        self._busy_ns = 0
        self._last_s = 0.0
        self._captured: dict[str, deque[tuple[float, int]]] = {}

    def bound_ms(self, sources: Sequence[SourceSetup], share: float) -> float | None:
        """The latency that the governor is to keep: a part of the strictest age limit; None without live sources."""
        limits = [source.settings.max_age_ms for source in sources if source.live]
        return share * min(limits) if limits else None

    def since(self, rings: Rings, sources: Sequence[SourceSetup], now: float) -> Done:
        """What was done since the last call.

        Nothing is locked, so that a process which was stopped with a lock in hand stops nobody here.

        Args:
            rings: shared memory; frame rings in the order of ``sources``.
            sources: as configured.
            now: monotonic seconds.
        """
        counted = rings.board.tally.read()
        latency = NO_LATENCIES if self._counted is None else counted.since(self._counted)
        busy_ns = rings.board.row(INFER_ROW).times(INFER_STAGES)["infer"].wall_ns
        elapsed, first = now - self._last_s, self._counted is None
        idle = None if first else min(1.0, max(0.0, 1 - (busy_ns - self._busy_ns) / 1e9 / elapsed))
        offered = self._offered(rings, sources, now)
        rates = self._rates(rings, sources, now)
        self._counted, self._busy_ns, self._last_s = counted, busy_ns, now
        return Done(latency, offered, idle, _p99_ms(rings, sources), rates)

    def _offered(self, rings: Rings, sources: Sequence[SourceSetup], now: float) -> float | None:
        """Frames captured a second since the last look; None where it is the pipeline that sets their pace."""
        if not all(source.live for source in sources):
            return None
        grown = 0
        for source, table in zip(sources, rings.frames, strict=True):
            known = self._captured.get(source.settings.name)
            if known:
                grown += max(0, table.words[CAPTURED] - known[-1][1])
        return grown / (now - self._last_s) if self._counted is not None else None

    def _rates(self, rings: Rings, sources: Sequence[SourceSetup], now: float) -> list[SourceRate]:
        names = {source.settings.name for source in sources}
        for name in [name for name in self._captured if name not in names]:
            del self._captured[name]
        rates = []
        for source, table in zip(sources, rings.frames, strict=True):
            known = self._captured.setdefault(source.settings.name, deque())
            known.append((now, table.words[CAPTURED]))
            while len(known) > 2 and known[1][0] <= now - _SMOOTH_S:
                known.popleft()
            span_s, frames = now - known[0][0], known[-1][1] - known[0][1]
            hz = frames / span_s if span_s > 0 and frames > 0 else 0.0
            rates.append(SourceRate(source.settings.name, hz, source.settings.priority))
        return rates


def subject_of(sources: Sequence[SourceSetup], prepared: Prepared) -> str:
    """What is being done, for comparing: only peaks of the same engine and sources do."""
    model = prepared.model
    each = (f"{it.settings.name} {it.uri.shown} {it.live} {it.settings.fps}" for it in sources)
    return "\n".join([f"{model.id} {model.backend} {model.engine} {prepared.outputs.max_batch}", *sorted(each)])


def _p99_ms(rings: Rings, sources: Sequence[SourceSetup]) -> float | None:
    """The worst p99 of the live sources, each as if its age limit were the strictest one; None where none is known."""
    limits = [source.settings.max_age_ms for source in sources if source.live]
    found = [
        table.words[AGE_P99_US] / 1000 * min(limits) / source.settings.max_age_ms
        for source, table in zip(sources, rings.frames, strict=True)
        if source.live and table.words[AGE_P99_US] > 0
    ]
    return max(found, default=None)
