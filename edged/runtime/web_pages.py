# SPDX-License-Identifier: Apache-2.0
"""What HTTP answers: pages made of what the supervisor showed last. No sockets; may be called from any thread.

| page | 200 | 503 |
|---|---|---|
| ``/livez`` | the supervisor turns | it has not for some seconds |
| ``/readyz`` | engine loaded and endpoints bound, whatever the sources do | not, or not now, with the reasons |
| ``/healthz`` | the health record as JSON, whatever it says | the last record, nothing new for some seconds |
| ``/metrics`` | Prometheus metrics | nothing new for some seconds: old figures look like new ones |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from edged.messages import HEALTH, STATS, THERMAL, Health, Stats, Thermal
from edged.monitor.record import Record

STALE_S = 5.0
"""So long after the supervisor's last word it counts as stuck."""
_PLAIN = "text/plain; charset=utf-8"
_INDEX = "edged: /healthz /livez /metrics /readyz\n"


class Answer(NamedTuple):
    """A response."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """What the supervisor shows, as it gave it to publish; turned into messages when somebody asks.

    Attributes:
        health: the body of ``v1/health/``.
        stats: the body of ``v1/stats/``; None until there is something.
        thermal: the body of ``v1/thermal/``; likewise.
        serving: whether the engine is loaded and the endpoints are bound.
        last_seq: last sequence number by topic.
        subscribers: clients connected to the publisher.
        handshake_failures: connections without a handshake; None while unknown.
        at: Unix seconds.
        shown_s: monotonic seconds.
    """

    health: Mapping[str, Any]
    stats: Mapping[str, Any] | None = None
    thermal: Mapping[str, Any] | None = None
    serving: bool = False
    last_seq: Mapping[str, int] = field(default_factory=dict)
    subscribers: int = 0
    handshake_failures: int | None = None
    at: float = field(default_factory=time.time)
    shown_s: float = field(default_factory=time.monotonic)


class Pages:
    """The pages of one daemon.

    Args:
        device: ``daemon.name``.
        boot: of this start of the daemon.
        clock: monotonic seconds.
    """

    def __init__(self, device: str, boot: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._device = device
        self._boot = boot
        self._clock = clock
        self._shown = Shown(health={"state": "starting", "reasons": [], "sources": {}, "engine": None})
        self._turned_s = clock()
        self._rendered: tuple[Shown, str, Answer] | None = None
        self._pages: dict[str, Callable[[str], Answer]] = {
            "/": lambda _accept: Answer(200, _PLAIN, _INDEX.encode()),
            "/livez": lambda _accept: self._live(),
            "/readyz": lambda _accept: self._ready(),
            "/healthz": lambda _accept: self._health(),
            "/metrics": self._metrics,
        }

    def beat(self) -> None:
        """The supervisor turns."""
        self._turned_s = self._clock()

    def show(self, shown: Shown) -> None:
        """Answer from this on."""
        self._shown = shown

    def stopping(self) -> None:
        """From now on the daemon is not ready, whatever was shown."""
        self._shown = replace(self._shown, health={**self._shown.health, "state": "stopping"}, serving=False)

    def answer(self, path: str, accept: str = "") -> Answer:
        """The page at a path.

        Args:
            path: as asked for; a query is ignored.
            accept: the header of that name.
        """
        page = self._pages.get(path.partition("?")[0])
        return _text(404, _INDEX) if page is None else page(accept)

    def record(self) -> Record:
        """What was shown last, as the messages that tell it."""
        shown = self._shown

        def envelope(topic: str) -> dict[str, Any]:
            # Of the message that was sent last; the one that says the same goes out at the same time as this.
            seq = max(1, shown.last_seq.get(topic, 1))
            return {"device": self._device, "boot": self._boot, "seq": seq, "at": shown.at}

        extra = {"last_seq": dict(shown.last_seq), "subscribers": shown.subscribers}
        return Record(
            health=msgspec.convert({**envelope(HEALTH), **shown.health, **extra}, Health),
            stats=None if shown.stats is None else msgspec.convert({**envelope(STATS), **shown.stats}, Stats),
            thermal=None if shown.thermal is None else msgspec.convert({**envelope(THERMAL), **shown.thermal}, Thermal),
            handshake_failures=shown.handshake_failures,
        )

    def _late(self) -> str:
        """What to say of a supervisor that is stuck; empty while it turns."""
        silent_s = self._clock() - self._turned_s
        return f"the supervisor has not turned for {silent_s:.0f} s\n" if silent_s >= STALE_S else ""

    def _old(self) -> str:
        """What to say of figures that are too old; empty while they are not."""
        age_s = self._clock() - self._shown.shown_s
        # While it starts there is nothing to show, and nothing that could be taken for new.
        old = age_s >= STALE_S and self._shown.health["state"] != "starting"
        return self._late() or (f"nothing new for {age_s:.0f} s\n" if old else "")

    def _live(self) -> Answer:
        late = self._late()
        return _text(503, late) if late else _text(200, "live\n")

    def _ready(self) -> Answer:
        old, shown = self._old(), self._shown
        state, reasons = shown.health["state"], shown.health["reasons"]
        if old:
            return _text(503, old)
        status = 200 if shown.serving and state in ("ready", "degraded") else 503
        return _text(status, "".join(f"{line}\n" for line in [state, *reasons]))

    def _health(self) -> Answer:
        body = msgspec.json.encode(self.record().health) + b"\n"
        return Answer(503 if self._old() else 200, "application/json", body)

    def _metrics(self, accept: str) -> Answer:
        old, shown, rendered = self._old(), self._shown, self._rendered
        if old:
            return _text(503, old)
        if rendered is not None and rendered[0] is shown and rendered[1] == accept:
            return rendered[2]
        from edged.monitor.metrics import render

        content_type, body = render(self.record(), accept)
        answer = Answer(200, content_type, body)
        self._rendered = (shown, accept, answer)
        return answer


def _text(status: int, text: str) -> Answer:
    return Answer(status, _PLAIN, text.encode())
