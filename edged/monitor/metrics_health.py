# SPDX-License-Identifier: Apache-2.0
"""Metrics of `edged.messages.Health`: the daemon, its sources, its engine, its subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from msgspec.structs import asdict
from prometheus_client.metrics_core import Metric

from edged.messages import DaemonState, EngineHealth, Health, SourceHealth, SourceState
from edged.monitor.metrics_family import counter, gauge, info, one_of, quantiles
from edged.monitor.record import Record

_SOURCE = ("source",)


def health_families(record: Record) -> Iterator[Metric]:
    """Families of a record's health."""
    health = record.health
    text = "State of the daemon: 1 for the one it is in."
    yield one_of("edged_state", text, (), [((), health.state)], of=get_args(DaemonState), label="state")
    yield from _sources(health.sources)
    yield from _engine(health.engine)
    yield gauge("edged_subscribers", "Clients connected to the publisher.", (), [((), health.subscribers)])
    if record.handshake_failures is not None:
        text = "Connections to the publisher without a handshake: wrong keys, port scanners."
        yield counter("edged_handshake_failures", text, (), [((), record.handshake_failures)])
    yield _messages(health)


def _sources(sources: dict[str, SourceHealth]) -> Iterator[Metric]:
    each = [((name,), source) for name, source in sources.items()]
    yield one_of(
        "edged_source_state",
        "State of a source: 1 for the one it is in.",
        _SOURCE,
        [(name, source.state) for name, source in each],
        of=get_args(SourceState),
        label="state",
    )
    known = [(name, {"decode": source.decode}) for name, source in each if source.decode]
    yield info("edged_source_decoder", "How a source's frames are decoded.", _SOURCE, known)
    yield counter("edged_frames_captured", "Frames taken.", _SOURCE, [(name, it.captured) for name, it in each])
    text = "Frames whose prediction was published."
    yield counter("edged_frames_published", text, _SOURCE, [(name, it.published) for name, it in each])
    yield counter(
        "edged_frames_dropped",
        "Frames taken and not published, by reason.",
        ("source", "reason"),
        [((*name, reason), lost) for name, it in each for reason, lost in asdict(it.dropped).items()],
    )
    text = "Frames taken of which parts had been lost."
    yield counter("edged_frames_damaged", text, _SOURCE, [(name, it.damaged) for name, it in each])
    text = "Frames taken and neither published nor dropped yet."
    yield gauge("edged_frames_in_flight", text, _SOURCE, [(name, it.in_flight) for name, it in each])
    text = "Predictions published a second, over the last seconds."
    yield gauge("edged_source_rate_hertz", text, _SOURCE, [(name, it.rate_hz) for name, it in each])
    yield quantiles(
        "edged_prediction_age_seconds",
        "From capture to publish, over the last seconds.",
        _SOURCE,
        [
            (name, {"0.5": it.age_ms.p50 / 1000, "0.99": it.age_ms.p99 / 1000})
            for name, it in each
            if it.age_ms is not None
        ],
    )


def _engine(engine: EngineHealth | None) -> Iterator[Metric]:
    if engine is not None:
        what = {
            "model": engine.id,
            "engine": engine.engine,
            "backend": engine.backend,
            "precision": engine.precision,
            "io": engine.io,
        }
        yield info("edged_engine", "The engine in use.", (), [((), what)])


def _messages(health: Health) -> Metric:
    """Topics are the daemon's own and one a source."""
    rows = [((topic,), number) for topic, number in health.last_seq.items()]
    return counter("edged_messages_published", "Messages published, by topic.", ("topic",), rows)
