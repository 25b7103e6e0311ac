# SPDX-License-Identifier: Apache-2.0
"""Metrics as Prometheus reads them: they parse, keep to its rules, say what the record says, and stay few."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from support.told import full_record

from edged import __version__
from edged.messages import DaemonState, Dropped, Health, SourceHealth, SourceState, Stats, Thermal
from edged.messages_stats import ProcessStats, StageTime
from edged.messages_thermal import SensorValue
from edged.monitor.metrics import RecordCollector, render
from edged.monitor.metrics_family import UNITS
from edged.monitor.readings import UNITS as SENSOR_UNITS
from edged.monitor.readings import Cause
from edged.monitor.record import Record

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
DASHBOARD = Path(__file__).resolve().parents[2] / "configs" / "grafana-edged.json"
ENVELOPE: dict[str, Any] = {"device": "gate", "boot": "b", "seq": 1, "at": 1.0}
_OTHER_UNITS = ("milliseconds", "ms", "us", "ns", "minutes", "hours", "percent", "kelvin", "mhz", "mw", "mb", "rpm")
_NAME = re.compile(r"edged_[a-z][a-z0-9_]*")


def families(record: Record, accept: str = "") -> dict[str, Metric]:
    """What a scraper understands of a record."""
    text = render(record, accept)[1].decode()
    return {family.name: family for family in (read_open_metrics if accept else read_text)(text)}


def values(family: Metric, sample: str = "") -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of a family by their labels."""
    return {tuple(sorted(s.labels.items())): s.value for s in family.samples if s.name == (sample or s.name)}


def full_sensors() -> Thermal:
    """A sensor of every kind there is."""
    sensors = [SensorValue(name="x", kind=kind, value=2.0, unit=unit) for kind, unit in SENSOR_UNITS.items()]
    thermal = full_record().thermal
    assert thermal is not None
    return msgspec.structs.replace(thermal, sensors=sensors, power_limit_w=25.0)


def everything() -> Record:
    """A record in which no family is absent."""
    record = full_record()
    return Record(record.health, record.stats, full_sensors(), handshake_failures=3)


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_the_official_parsers_read_it_and_find_the_same_values(accept: str) -> None:
    content_type, text = render(everything(), accept)
    assert content_type.startswith(accept.partition(";")[0] or "text/plain; version=0.0.4")
    assert text.decode().endswith("# EOF\n") == bool(accept)
    found = families(everything(), accept)
    told = {family.name: family for family in RecordCollector(everything()).collect()}
    # In the older format an information is a gauge whose name says so.
    assert found.keys() == {f"{n}_info" if told[n].type == "info" and not accept else n for n in told}
    for name, family in told.items():
        there = found.get(name) or found[f"{name}_info"]
        assert [sample[:3] for sample in there.samples] == [sample[:3] for sample in family.samples]


def test_names_and_units_keep_to_the_rules() -> None:
    for family in families(everything(), OPEN_METRICS).values():
        assert _NAME.fullmatch(family.name), family.name
        assert "__" not in family.name
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info")), family.name
        words = family.name.split("_")
        assert not set(words) & set(_OTHER_UNITS), family.name
        # A unit stands at the end and nowhere else, and is told to those who understand it.
        assert not set(words[:-1]) & set(UNITS), family.name
        assert family.unit == (words[-1] if words[-1] in UNITS else ""), family.name
        # No type in a name, and no label that a type reserves.
        assert not set(words) & {"gauge", "counter", "summary", "histogram"}, family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name == f"{family.name}_total"
                assert sample.value >= 0
            assert "le" not in sample.labels
            assert ("quantile" not in sample.labels) or family.type == "summary"
            assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in sample.labels)


def test_no_sample_is_there_twice_and_none_is_without_a_value() -> None:
    for family in families(everything()).values():
        keys = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(keys) == len(set(keys)), family.name
        assert all(math.isfinite(sample.value) for sample in family.samples)


def test_it_says_what_the_record_says() -> None:
    record = everything()
    health, found = record.health, families(record)
    assert values(found["edged_build_info"]) == {(("version", __version__),): 1.0}
    for name, source in health.sources.items():
        assert values(found["edged_frames_captured"])[(("source", name),)] == source.captured
        lost = values(found["edged_frames_dropped"])
        for reason in Dropped.__struct_fields__:
            assert lost[(("reason", reason), ("source", name))] == getattr(source.dropped, reason)
        states = {key: value for key, value in values(found["edged_source_state"]).items() if ("source", name) in key}
        assert {dict(key)["state"]: value for key, value in states.items()} == {
            state: float(state == source.state) for state in get_args(SourceState)
        }
        if source.age_ms is not None:
            ages = values(found["edged_prediction_age_seconds"])
            assert ages[(("quantile", "0.99"), ("source", name))] == pytest.approx(source.age_ms.p99 / 1000)
    assert values(found["edged_state"])[(("state", health.state),)] == 1.0
    assert sum(values(found["edged_state"]).values()) == 1.0
    assert values(found["edged_handshake_failures"]) == {(): 3.0}
    assert health.engine is not None
    assert {"model": health.engine.id, "engine": health.engine.engine} == {
        key: value for key, value in found["edged_engine_info"].samples[0].labels.items() if key in ("model", "engine")
    }
    assert values(found["edged_stage_duration_seconds"], "edged_stage_duration_seconds_count") == {
        (("process", "infer"), ("stage", "infer")): 1400.0
    }
    assert values(found["edged_fan_speed_hertz"]) == {(("sensor", "x"),): 2.0 / 60}
    throttled = {dict(key)["cause"]: value for key, value in values(found["edged_throttled"]).items()}
    assert record.thermal is not None
    assert {cause for cause, value in throttled.items() if value} == {each.cause for each in record.thermal.throttle}


def test_what_is_unknown_has_no_sample() -> None:
    bare = families(Record(Health(**ENVELOPE, state="starting", sources={"a": SourceHealth(state="opening")})))
    assert "edged_prediction_age_seconds" not in bare
    assert "edged_engine_info" not in bare
    assert "edged_handshake_failures" not in bare
    assert not [name for name in bare if "temperature" in name or "throttle" in name or "process" in name]
    blind = families(Record(full_record().health, None, Thermal(**ENVELOPE)))
    assert not [name for name in blind if "power" in name or "celsius" in name or "throttle" in name]
    kinds = [SensorValue(name="x", kind="flux", value=1.0, unit="weber")]
    assert "flux" not in render(Record(full_record().health, None, Thermal(**ENVELOPE, sensors=kinds)))[1].decode()


def test_labels_are_what_the_settings_and_the_machine_allow_and_nothing_else() -> None:
    record = everything()
    assert record.stats is not None
    assert record.thermal is not None
    stages = {stage for process in record.stats.processes.values() for stage in process.stages}
    causes = {cause.value for cause in Cause}
    allowed = {
        "source": set(record.health.sources),
        "state": {*get_args(SourceState), *get_args(DaemonState)},
        "reason": set(Dropped.__struct_fields__),
        "process": set(record.stats.processes),
        "stage": stages,
        "topic": set(record.health.last_seq),
        "cause": causes,
        "window": set(record.stats.windows),
        "sensor": {sensor.name for sensor in record.thermal.sensors},
        "clock": {clock.name for clock in record.thermal.clocks},
        "memory": {"gpu", "unified", "host"},
        "quantile": {"0.5", "0.95", "0.99"},
        "frames": {"100", "1000"},
    }
    for family in families(record).values():
        if not family.name.endswith("_info"):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    assert value in allowed[label], (sample.name, label, value)


def test_a_source_more_is_a_bounded_number_of_samples_more() -> None:
    def count(sources: int) -> int:
        names = [f"s{n}" for n in range(sources)]
        stages = {stage: StageTime(count=1, wall_s=1.0, cpu_s=1.0) for stage in ("decode", "fit", "hand-over")}
        health = Health(**ENVELOPE, state="ready", sources={name: SourceHealth(state="live") for name in names})
        processes = {f"capture:{name}": ProcessStats(stages=stages) for name in names}
        return sum(len(f.samples) for f in families(Record(health, Stats(**ENVELOPE, processes=processes))).values())

    per_source = count(2) - count(1)
    assert count(64) - count(1) == 63 * per_source
    assert per_source < 30


def test_hostile_names_cannot_break_out_of_their_label() -> None:
    name = 'a"} 1\nedged_fake 1\n\\'
    record = Record(full_record().health, None, Thermal(**ENVELOPE, sensors=[_temperature(name)]))
    found = families(record)
    assert "edged_fake" not in found
    assert values(found["edged_temperature_celsius"]) == {(("sensor", name),): 50.0}


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    samples = {sample.name for family in families(everything()).values() for sample in family.samples}
    asked = [target["expr"] for panel in _panels(json.loads(DASHBOARD.read_text())) for target in panel["targets"]]
    assert len(asked) > 15
    names = {name for expr in asked for name in _NAME.findall(expr)}
    assert names <= samples, names - samples


def test_every_metric_is_in_the_documentation() -> None:
    text = (DASHBOARD.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in families(everything()).values():
        plain = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{plain}`" in text, plain


def _temperature(name: str) -> SensorValue:
    return SensorValue(name=name, kind="temperature", value=50.0, unit="celsius")


def _panels(dashboard: dict[str, list[dict[str, object]]]) -> Iterator[dict[str, list[dict[str, str]]]]:
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel  # type: ignore[misc]
