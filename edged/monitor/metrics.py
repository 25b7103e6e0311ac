# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of one record. Base units, no global registry; every label's values are bounded by the settings,
by the sensors of the machine, or by lists in `edged.messages`.

Needs prometheus-client, so it is imported when somebody first asks for metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from edged import __version__
from edged.monitor.metrics_family import info
from edged.monitor.metrics_health import health_families
from edged.monitor.metrics_stats import stats_families
from edged.monitor.metrics_thermal import thermal_families
from edged.monitor.record import Record


class RecordCollector(Collector):
    """All families of metrics of one record.

    Args:
        record: what is told.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def collect(self) -> Iterable[Metric]:
        """The families, each with at least one sample."""
        return (family for family in _families(self._record) if family.samples)


def render(record: Record, accept: str = "") -> tuple[str, bytes]:
    """A record as text.

    Args:
        record: what is told.
        accept: the header of that name, which decides between Prometheus' own format and OpenMetrics.

    Returns:
        The content type, and the text in UTF-8.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RecordCollector(record))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


def _families(record: Record) -> Iterator[Metric]:
    yield info("edged_build", "Version of edged.", (), [((), {"version": __version__})])
    yield from health_families(record)
    if record.stats is not None:
        yield from stats_families(record.stats)
    if record.thermal is not None:
        yield from thermal_families(record.thermal)
