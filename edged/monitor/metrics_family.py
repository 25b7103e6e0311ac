# SPDX-License-Identifier: Apache-2.0
"""Making families of metrics: prometheus-client's own, with the unit that the name ends in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)

UNITS = ("bytes", "celsius", "hertz", "joules", "ratio", "seconds", "volts", "watts")
"""Base units; a name that has a unit ends in it (a counter's before ``_total``)."""

Row = tuple[Sequence[str], float]
"""The values of the labels, and the metric's."""


def gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    """Values that rise and fall."""
    family = GaugeMetricFamily(name, text, labels=labels, unit=unit_of(name))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    """Values that only rise, but start again with a process; ``name`` without ``_total``."""
    family = CounterMetricFamily(name, text, labels=labels, unit=unit_of(name))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def one_of(
    name: str,
    text: str,
    labels: Sequence[str],
    rows: Iterable[tuple[Sequence[str], str]],
    *,
    of: Sequence[str],
    label: str,
) -> Metric:
    """Which of several it is: 1 for that one, 0 for all others, so that each always exists.

    Args:
        name: of the family.
        text: what it tells.
        labels: names of the labels but ``label``.
        rows: the labels' values, and which one it is.
        of: all there are.
        label: name of the label that says which.
    """
    found = ((values, now) for values, now in rows)
    return gauge(name, text, [*labels, label], [((*values, each), each == now) for values, now in found for each in of])


def summary(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], int, float]]) -> Metric:
    """How often something took place and how long it took in total, seconds."""
    family = SummaryMetricFamily(name, text, labels=labels, unit=unit_of(name))
    for values, count, total in rows:
        family.add_metric(values, count, total)
    return family


def quantiles(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], dict[str, float]]]
) -> Metric:
    """Quantiles (``"0.99"``) of which neither count nor sum is known."""
    family = SummaryMetricFamily(name, text, labels=labels, unit=unit_of(name))
    for values, found in rows:
        here = dict(zip(labels, values, strict=True))
        for quantile, value in found.items():
            family.add_sample(name, {**here, "quantile": quantile}, value)
    return family


def info(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], dict[str, str]]]) -> Metric:
    """What something is, in labels; the value is always 1. ``name`` without ``_info``."""
    family = InfoMetricFamily(name, text, labels=labels)
    for values, what in rows:
        family.add_metric(values, what)
    return family


def unit_of(name: str) -> str:
    """The unit that a name ends in; empty for a count."""
    last = name.rpartition("_")[2]
    return last if last in UNITS else ""
