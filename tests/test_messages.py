# SPDX-License-Identifier: Apache-2.0
"""The wire schema against its golden files: what was once a valid message must stay one, and mean the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from edged.messages import (
    BY_SCHEMA,
    Dropped,
    Event,
    Health,
    Mask,
    Message,
    Prediction,
    Stats,
    Tensor,
    Thermal,
    predictions_topic,
)

REPO = Path(__file__).parents[1]
GOLDEN = {path.stem: path for path in sorted((REPO / "tests" / "fixtures" / "messages").glob("*.json"))}


def decode(name: str) -> Message:
    raw = GOLDEN[name].read_bytes()
    return msgspec.json.decode(raw, type=BY_SCHEMA[json.loads(raw)["schema"]])


def schema(name: str) -> dict[str, Any]:
    kind = name.split(".")[1].split("/")[0]
    loaded: dict[str, Any] = json.loads((REPO / "docs" / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
    return loaded


def test_every_kind_and_task_has_a_golden_file() -> None:
    messages = [decode(name) for name in GOLDEN]
    assert {message.schema for message in messages} == set(BY_SCHEMA)
    tasks = {message.task for message in messages if isinstance(message, Prediction)}
    assert tasks == {"classification", "detection", "segmentation", "raw"}


@pytest.mark.parametrize("name", GOLDEN)
def test_encoding_what_was_decoded_gives_the_same_bytes(name: str) -> None:
    encoded = msgspec.json.format(msgspec.json.encode(decode(name)), indent=2) + b"\n"
    assert encoded == GOLDEN[name].read_bytes()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_fit_the_published_schema(name: str) -> None:
    message = json.loads(GOLDEN[name].read_bytes())
    published = schema(message["schema"])
    jsonschema.Draft202012Validator.check_schema(published)
    validator = jsonschema.Draft202012Validator(published)
    validator.validate(message)
    for missing in ("schema", "seq", "boot", "device", "at"):
        broken = {key: value for key, value in message.items() if key != missing}
        assert not validator.is_valid(broken)
    assert not validator.is_valid({**message, "schema": "edged.other/1"})


@pytest.mark.parametrize("name", GOLDEN)
def test_unknown_fields_are_ignored_at_every_level(name: str) -> None:
    def add(part: Any) -> Any:
        if isinstance(part, list):
            return [add(entry) for entry in part]
        if not isinstance(part, dict):
            return part
        more = {key: add(value) for key, value in part.items()}
        # Where the keys are names (sources, topics, processes, data) a new key would be an entry, not a field.
        is_map = not part.keys().isdisjoint(
            {"north", "infer", "attempt", "v1/event/", "1m", "temperature_c", "power_cap"}
        )
        return more if is_map or not part else {**more, "later_version": {"x": [1]}}

    raw = json.loads(GOLDEN[name].read_bytes())
    kind = BY_SCHEMA[raw["schema"]]
    extended = add(raw)
    assert json.dumps(extended).count("later_version") >= 1
    if name == "health-starting":
        extended.update(sources={}, last_seq={})
    assert msgspec.json.decode(json.dumps(extended), type=kind) == decode(name)
    jsonschema.Draft202012Validator(schema(raw["schema"])).validate(extended)


def test_values_are_read_as_what_they_are() -> None:
    detection = decode("prediction-detection")
    assert isinstance(detection, Prediction)
    assert (detection.source, detection.seq, detection.frame_id, detection.age_ms) == ("north", 1234, 5678, 21.4)
    assert detection.dropped == Dropped(overwritten=12)
    assert isinstance(detection.detections, list)
    assert detection.detections[0].box == (604.5, 212.0, 741.25, 655.75)
    assert detection.mask is msgspec.UNSET
    segmentation = decode("prediction-segmentation")
    assert isinstance(segmentation, Prediction)
    assert isinstance(segmentation.mask, Mask)
    assert segmentation.mask.shape == (73, 129)
    raw = decode("prediction-raw")
    assert isinstance(raw, Prediction)
    assert isinstance(raw.tensors, list)
    assert raw.tensors[1] == Tensor(name="norm", blob=1, shape=[1], dtype="float16")
    health = decode("health")
    assert isinstance(health, Health)
    assert health.engine is not None
    assert (health.sources["north"].in_flight, health.engine.io) == (2, "copy")
    event = decode("event")
    assert isinstance(event, Event)
    assert event.data == {"attempt": 1, "waited_s": 6.0, "host": "10.0.0.7", "again": True}
    stats = decode("stats")
    assert isinstance(stats, Stats)
    assert stats.processes["infer"].stages["infer"].count == 1400
    assert stats.windows["10m"].held_back_s == {"power_cap": 2.0}
    thermal = decode("thermal")
    assert isinstance(thermal, Thermal)
    assert (thermal.sensors[1].kind, thermal.power_limit_w) == ("margin", msgspec.UNSET)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("health")])
def test_frames_are_conserved_in_the_examples_too(name: str) -> None:
    health = decode(name)
    assert isinstance(health, Health)
    for source in health.sources.values():
        dropped = sum(getattr(source.dropped, reason) for reason in source.dropped.__struct_fields__)
        assert source.captured == source.published + dropped + source.in_flight


def test_topics_end_in_a_slash() -> None:
    assert predictions_topic("cam1") == "v1/predictions/cam1/"
    assert not predictions_topic("cam10").startswith(predictions_topic("cam1"))


def test_generated_documents_are_up_to_date() -> None:
    tool = REPO / "tools" / "make_message_schemas.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_guide_names_every_topic_and_its_python_compiles() -> None:
    guide = (REPO / "docs" / "messages.md").read_text(encoding="utf-8")
    for name in BY_SCHEMA:
        assert name in guide
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        compile(block, "messages.md", "exec")
