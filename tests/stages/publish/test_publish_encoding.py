# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time

import numpy as np
import pytest

from edged.messages import HEALTH, Detection, Dropped, Event, FrameSize, Health, ModelRef, Prediction, Timing
from edged.stages.publish.encoding import Envelopes, MessageEncoder
from edged.stages.publish.sequences import LocalSequences


def prediction(envelopes: Envelopes, found: int) -> Prediction:
    return Prediction(
        **envelopes.fill("v1/predictions/north/"),
        source="north",
        frame_id=7,
        captured_at=1.0,
        captured_monotonic_ns=1,
        age_ms=21.4,
        timing_ms=Timing(wait=3.1, copy=0.2, infer=8.7, postprocess=0.6),
        batch=4,
        dropped=Dropped(),
        frame=FrameSize(width=1920, height=1080),
        model=ModelRef(id="m", engine="e", backend="onnxruntime", precision="fp32"),
        task="detection",
        detections=[
            Detection(label="person", class_id=0, score=0.91, box=(604.53, 212.02, 741.25, 655.75))
            for _ in range(found)
        ],
    )


def envelopes() -> Envelopes:
    return Envelopes(device="d", boot="b", sequences=LocalSequences(), clock=lambda: 2.5)


def test_the_envelope_counts_per_topic() -> None:
    filled = envelopes()
    assert filled.fill("a") == {"device": "d", "boot": "b", "seq": 1, "at": 2.5}
    assert [filled.fill("a")["seq"], filled.fill("b")["seq"]] == [2, 1]


def test_schema_is_always_sent_and_unset_parts_never() -> None:
    sent = json.loads(MessageEncoder().encode(prediction(envelopes(), 1)))
    assert sent["schema"] == "edged.prediction/1"
    assert sent["detections"][0]["box"] == [604.53, 212.02, 741.25, 655.75]
    assert not {"mask", "classes", "tensors"} & sent.keys()
    assert "file" not in sent["frame"]
    health = json.loads(MessageEncoder().encode(Health(**envelopes().fill(HEALTH), state="starting")))
    assert health["engine"] is None


def test_what_json_cannot_express_is_an_error() -> None:
    event = Event(**envelopes().fill("v1/event/"), kind="k", data={"x": np.float32(1.0)})
    with pytest.raises(TypeError):
        MessageEncoder().encode(event)


def test_building_and_encoding_ten_detections_is_cheap() -> None:
    filled, encoder = envelopes(), MessageEncoder()
    best = float("inf")
    for _ in range(20):
        start = time.thread_time_ns()
        for _ in range(50):
            encoder.encode(prediction(filled, 10))
        best = min(best, (time.thread_time_ns() - start) / 50_000)
    print(f"envelope, prediction with 10 detections and JSON: {best:.1f} us")
    assert best <= 20
