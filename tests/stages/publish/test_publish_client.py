# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import SettingsError
from edged.messages import BY_SCHEMA, EVENT, HEALTH, Event, Health, Mask, Prediction, Tensor
from edged.stages.publish.client import _TOPICS, Received, Subscriber, decode_mask, decode_tensors
from edged.stages.publish.publisher import Publisher

Make = Callable[..., Publisher]
Wait = Callable[..., None]
VALID = {"device": "d", "boot": "b", "schema": "edged.event/1", "kind": "sentinel", "at": 1.0}


@pytest.fixture
def hostile(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """A publisher that sends whatever it likes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sender = context.socket(zmq.XPUB)
    sender.linger = 0
    sender.bind(endpoint)
    yield sender
    sender.close()
    context.term()


def event(publisher: Publisher) -> Event:
    return Event(**publisher.envelope(EVENT), kind="k")


def send_event(sender: zmq.Socket[bytes], seq: int, **fields: Any) -> None:
    sender.send_multipart([EVENT.encode(), msgspec.json.encode({**VALID, "seq": seq, **fields})])


def rejoined(subscriber: Subscriber, publisher: Publisher) -> bool:
    """ZeroMQ repeats a subscription after a reconnect only while the subscriber's thread uses its socket."""
    assert subscriber.receive(0) is None
    return publisher.prediction_subscriptions == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
almost = st.dictionaries(
    st.sampled_from(["schema", "device", "boot", "seq", "at", "state", "kind", "source", "task", "mask", "last_seq"]),
    json_values | st.sampled_from(sorted(BY_SCHEMA)),
    max_size=8,
).map(msgspec.json.encode)
topics = st.sampled_from([b"v1/event/", b"v1/health/", b"v1/predictions/x/", b"", b"v1/new/"]) | st.binary(max_size=20)
frames = st.lists(st.binary(max_size=60) | almost, max_size=3)


def test_nothing_that_is_sent_crashes_a_subscriber(hostile: zmq.Socket[bytes], endpoint: str) -> None:
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        seq = 0

        @given(topics, frames)
        @settings(deadline=None, max_examples=200)
        def check(topic: bytes, rest: list[bytes]) -> None:
            nonlocal seq
            seq += 1
            before = subscriber.malformed
            hostile.send_multipart([topic, *rest])
            send_event(hostile, seq)
            got = subscriber.receive(5)
            if got is not None and not (isinstance(got.message, Event) and got.message.kind == "sentinel"):
                got = subscriber.receive(5)
            else:
                assert subscriber.malformed == before + 1
            assert got is not None
            assert isinstance(got.message, Event)
            assert got.message.kind == "sentinel"

        check()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"schema":"edged.event/1","kind":' + b"[" * 100_000,
        b'{"schema":"edged.event/1","x":' + b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"schema":"edged.event/1","device":"\\ud800","boot":"b","seq":1,"at":1,"kind":"k"}',
        b'{"schema":"edged.event/1","device":"d","boot":"b","seq":1e400,"at":1,"kind":"k"}',
        b'{"schema":"edged.event/1","device":"d","boot":"b","seq":0,"at":1,"kind":"k"}',
        b'{"schema":"edged.event/1","device":"d","boot":"b","seq":' + b"9" * 5000 + b',"at":1,"kind":"k"}',
        b'{"schema":"edged.health/1","device":"d","boot":"b","seq":1,"at":1,"state":"ready"}',  # on the event topic
    ],
)
def test_bad_bodies_are_counted(hostile: zmq.Socket[bytes], endpoint: str, body: bytes) -> None:
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        hostile.send_multipart([EVENT.encode(), body])
        send_event(hostile, 1)
        received = subscriber.receive(5)
        assert received is not None
        assert isinstance(received.message, Event)
        assert received.message.kind == "sentinel"
        assert (subscriber.malformed, subscriber.unknown) == (1, 0)


def test_newer_daemons_are_understood_as_far_as_possible(hostile: zmq.Socket[bytes], endpoint: str) -> None:
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        hostile.send_multipart([b"v1/weather/", b'{"schema":"edged.weather/1","device":"d"}'])
        send_event(hostile, 1, colour="blue", nested={"a": [1, 2]})
        received = subscriber.receive(5)
    assert received is not None
    assert b"colour" in received.raw
    assert (subscriber.malformed, subscriber.unknown) == (1, 1)


def test_a_flood_of_rubbish_does_not_outlast_the_deadline(hostile: zmq.Socket[bytes], endpoint: str) -> None:
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        start = time.monotonic()
        for _ in range(900):
            hostile.send_multipart([b"x", b"y"])
        assert subscriber.receive(0.2) is None
        assert time.monotonic() - start < 2
        assert subscriber.malformed > 0


def test_every_schema_has_its_topic() -> None:
    assert {*_TOPICS, "edged.prediction/1"} == set(BY_SCHEMA)


def test_every_wait_has_a_deadline(endpoint: str) -> None:
    with Subscriber(endpoint, timeout_s=0.1) as subscriber:  # nobody publishes there
        start = time.monotonic()
        assert subscriber.receive(0.1) is None
        assert subscriber.receive(0) is None
        assert list(subscriber) == []
        assert subscriber.latest(0.1) == {}
        assert 0.3 <= time.monotonic() - start < 2


def test_what_cannot_be_connected_to_is_an_error() -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        Subscriber("nonsense")


def test_gaps_are_counted_and_the_tail_by_health(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher(hwm=2)
    with Subscriber(endpoint, hwm=2) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        publisher.publish(EVENT, event(publisher))
        assert subscriber.receive(5) is not None
        for _ in range(20_000):
            publisher.publish(EVENT, event(publisher))
        got = list(subscriber.messages(0.3))
        assert got
        assert len(got) < 20_000
        publisher.publish(
            HEALTH, Health(**publisher.envelope(HEALTH), state="ready", last_seq=publisher.sequences.last())
        )
        health = subscriber.receive(5)
        assert health is not None
        assert sum(received.lost for received in got) + health.tail_lost.get(EVENT, 0) == subscriber.lost[EVENT]
        assert 1 + len(got) + subscriber.lost[EVENT] == 20_001


def test_a_restart_is_not_a_gap(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    with Subscriber(endpoint) as subscriber:
        for boot in ("one", "two"):
            publisher = make_publisher(boot=boot)
            wait_until(publisher, lambda publisher=publisher: rejoined(subscriber, publisher))
            for _ in range(3):
                publisher.publish(EVENT, event(publisher))
            assert [received.message.seq for received in subscriber.messages(0.3)] == [1, 2, 3]
            publisher.close(0)
        assert subscriber.restarts == 1
        assert not subscriber.lost


def test_a_replaced_publisher_goes_on_counting(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    first = make_publisher()
    with Subscriber(endpoint) as subscriber:
        wait_until(first, lambda: first.prediction_subscriptions == 1)
        first.publish(EVENT, event(first))
        assert subscriber.receive(5) is not None
        first.close(0)
        second = make_publisher(sequences=first.sequences)
        second.publish(EVENT, event(second))  # nobody is connected yet
        wait_until(second, lambda: rejoined(subscriber, second))
        second.publish(EVENT, event(second))
        received = subscriber.receive(5)
        assert received is not None
        assert (received.message.seq, received.lost, subscriber.restarts) == (3, 1, 0)


def test_latest_skips_what_is_outdated(hostile: zmq.Socket[bytes], endpoint: str) -> None:
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        for seq in range(1, 301):
            send_event(hostile, seq)
        body = {**VALID, "schema": "edged.health/1", "state": "ready", "seq": 1}
        hostile.send_multipart([HEALTH.encode(), msgspec.json.encode(body)])
        hostile.send_multipart([b"v1/weather/", b'{"schema":"edged.weather/1"}'])
        send_event(hostile, 301)
        newest: dict[str, Received] = {}
        end = time.monotonic() + 5
        while newest.get(EVENT) is None or newest[EVENT].message.seq < 301:
            assert time.monotonic() < end
            newest.update(subscriber.latest(1.0))
        assert newest.keys() == {EVENT, HEALTH}
        assert not subscriber.lost


def received(**part: Any) -> Received:
    golden = {
        **VALID,
        "schema": "edged.prediction/1",
        "seq": 1,
        "source": "s",
        "frame_id": 0,
        "captured_at": 1.0,
        "captured_monotonic_ns": 1,
        "age_ms": 1.0,
        "timing_ms": {"wait": 0, "copy": 0, "infer": 0, "postprocess": 0},
        "batch": 1,
        "dropped": {},
        "frame": {"width": 1, "height": 1},
        "model": {"id": "m", "engine": "", "backend": "b", "precision": "p"},
        "task": "raw",
    }
    message = msgspec.convert(golden, Prediction)
    for name, value in part.items():
        if name != "blobs":
            setattr(message, name, value)
    return Received("v1/predictions/s/", message, tuple(part.get("blobs", ())), b"{}")


def test_masks_come_back_as_they_were() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    png = cv2.imencode(".png", mask)[1].tobytes()
    info = Mask(blob=0, shape=(3, 4), dtype="uint8", encoding="png", box=(0.0, 0.0, 1.0, 1.0))
    assert np.array_equal(decode_mask(received(mask=info, blobs=[png])), mask)
    info.shape = (4, 3)
    for blobs in ([png], [b""], [b"no png"]):
        with pytest.raises(ValueError, match="not a PNG"):
            decode_mask(received(mask=info, blobs=blobs))
    with pytest.raises(ValueError, match="no mask"):
        decode_mask(received())


def test_tensors_come_back_as_they_were() -> None:
    values = np.arange(6, dtype="<f4").reshape(1, 2, 3)
    info = Tensor(name="t", blob=0, shape=[1, 2, 3], dtype="float32")
    decoded = decode_tensors(received(tensors=[info], blobs=[values.tobytes()]))
    assert decoded["t"].dtype == np.float32
    assert np.array_equal(decoded["t"], values)
    for shape, dtype in (([7], "float32"), ([-1], "float32"), ([6], "object"), ([6], "f4,f4"), ([6], "nonsense")):
        bad = Tensor(name="t", blob=0, shape=shape, dtype=dtype)
        with pytest.raises(ValueError, match="tensor 't'"):
            decode_tensors(received(tensors=[bad], blobs=[values.tobytes()]))


def test_a_missing_blob_is_malformed(hostile: zmq.Socket[bytes], endpoint: str) -> None:
    message = received(tensors=[Tensor(name="t", blob=1, shape=[1], dtype="uint8")]).message
    with Subscriber(endpoint) as subscriber:
        assert hostile.recv() == b"\x01"
        for blobs in ([b"0"], [b"0", b"1"]):
            hostile.send_multipart([b"v1/predictions/s/", msgspec.json.encode(message), *blobs])
        got = subscriber.receive(5)
        assert got is not None
        assert got.blobs == (b"0", b"1")
        assert subscriber.malformed == 1


def test_importing_the_client_is_cheap() -> None:
    code = (
        "import sys; import edged.stages.publish.client;"
        "print([name for name in ('cv2', 'numpy', 'pydantic', 'asyncio', 'onnxruntime') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout == "[]\n"
