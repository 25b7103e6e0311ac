# SPDX-License-Identifier: Apache-2.0
"""Messages to the client, through real sockets: whatever a publisher sends, a subscriber goes on."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import zmq

from edged.messages import BY_SCHEMA, EVENT
from edged.stages.publish.client import Received, Subscriber, decode_mask, decode_tensors
from edged.stages.publish.tail import describe, describe_losses
from tools.fuzz.mutate import Mutator
from tools.fuzz.run import remove

_FRAME = b"\n--next frame--\n"
_WAIT_S = 5.0
_LAST = "fuzz-last"
_HEAD = {"device": "gate-7", "boot": "b", "seq": 7, "at": 1790000000.147}
_MODEL = {"id": "m", "engine": "e", "backend": "tensorrt", "precision": "int8"}
_SEEN = {
    **_HEAD,
    "schema": "edged.prediction/1",
    "source": "north",
    "frame_id": 5678,
    "captured_at": 1790000000.125,
    "captured_monotonic_ns": 8123456789012,
    "age_ms": 21.4,
    "timing_ms": {"wait": 3.1, "copy": 0.2, "infer": 8.7, "postprocess": 0.6},
    "batch": 4,
    "dropped": {"overwritten": 12, "stale": 0, "decode_error": 0},
    "frame": {"width": 1920, "height": 1080, "file": "a.jpg"},
    "model": _MODEL,
}


def _good() -> list[list[bytes]]:
    """One message of each kind, with all that may be in it."""
    picture = bytes(cv2.imencode(".png", np.arange(48, dtype=np.uint8).reshape(6, 8))[1])
    mask = {"blob": 0, "shape": [6, 8], "dtype": "uint8", "encoding": "png", "box": [0, 0, 8, 6]}
    tensors = [
        {"name": "a", "blob": 0, "shape": [2, 3], "dtype": "float32"},
        {"name": "b", "blob": 1, "shape": [4], "dtype": "int64"},
    ]
    found = [{"label": "person", "class_id": 0, "score": 0.91, "box": [1, 2.5, 3, 4]}]
    health = {
        "state": "degraded",
        "reasons": ["south: no frame"],
        "sources": {
            "north": {"state": "live", "captured": 3, "published": 2, "in_flight": 1, "age_ms": {"p50": 1, "p99": 2}}
        },
        "engine": _MODEL,
        "last_seq": {"v1/predictions/north/": 9},
    }
    predictions: list[tuple[dict[str, Any], list[bytes]]] = [
        ({"task": "detection", "detections": found}, []),
        ({"task": "classification", "classes": [{"label": "cat", "class_id": 1, "score": 0.5}]}, []),
        ({"task": "segmentation", "mask": mask}, [picture]),
        ({"task": "raw", "tensors": tensors}, [b"\0" * 24, b"\1" * 32]),
    ]
    others: list[tuple[str, str, dict[str, Any]]] = [
        ("v1/health/", "edged.health/1", health),
        ("v1/stats/", "edged.stats/1", {"uptime_s": 3.0, "processes": {}, "windows": {}}),
        ("v1/thermal/", "edged.thermal/1", {"power_w": 30.0}),
        (EVENT, "edged.event/1", {"kind": "k", "severity": "error", "text": "t", "data": {"a": 1, "b": "c"}}),
    ]
    made = [[b"v1/predictions/north/", msgspec.json.encode({**_SEEN, **each}), *blobs] for each, blobs in predictions]
    made += [[topic.encode(), msgspec.json.encode({**_HEAD, "schema": kind, **each})] for topic, kind, each in others]
    for frames in made:
        kind = msgspec.json.decode(frames[1])["schema"]
        msgspec.json.decode(frames[1], type=BY_SCHEMA[kind])
    return made


class Sent:
    """A publisher that sends anything, and the client."""

    name = "message"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
        self._good = _good()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        endpoint = f"ipc://{self._folder}/pub.sock"
        self._socket.bind(endpoint)
        self._subscriber = Subscriber(endpoint)
        self._subscriber.receive(0)
        assert self._socket.poll(int(_WAIT_S * 1000)), "no subscription"
        self._socket.recv_multipart()
        self._count = 0

    def case(self, rng: random.Random) -> bytes:
        """Frames, of which one or several are broken."""
        frames = list(rng.choice(self._good))
        bodies = [each[1] for each in self._good]
        for index in range(len(frames)):
            if rng.random() < (0.85 if index == 1 else 0.15):
                seeds = (frames[index], frames[index], rng.choice(bodies)) if index == 1 else (frames[index],)
                frames[index] = Mutator(rng, seeds).case()
        if rng.random() < 0.05:
            frames = frames[: rng.randrange(1, len(frames) + 1)]
        if rng.random() < 0.05:
            frames.append(rng.randbytes(rng.randrange(100)))
        return _FRAME.join(frames)

    def run(self, case: bytes) -> None:
        """Send it and a good one behind it, and use all that comes out."""
        self._socket.send_multipart(case.split(_FRAME))
        self._count += 1
        last = {**_HEAD, "device": _LAST, "seq": self._count, "schema": "edged.event/1", "kind": "last"}
        self._socket.send_multipart([EVENT.encode(), msgspec.json.encode(last)])
        deadline = time.monotonic() + _WAIT_S
        while (received := self._subscriber.receive(deadline - time.monotonic())) is not None:
            _use(received)
            if received.message.device == _LAST and received.message.seq == self._count:
                return
        raise AssertionError("the good message after it did not arrive")

    def close(self) -> None:
        """Close both ends."""
        self._subscriber.close()
        self._socket.close()
        self._context.term()
        remove(self._folder)


def _use(received: Received) -> None:
    lines = [describe(received), *describe_losses(received)]
    assert all(line.isprintable() for line in lines), lines
    for decode in (decode_mask, decode_tensors):
        try:
            decode(received)
        except ValueError as error:
            _check(error)


def _check(error: ValueError) -> None:
    """What blobs that are not as promised are documented to end in."""
    assert type(error) is ValueError, repr(error)
    assert str(error).isprintable(), repr(error)
    assert len(str(error)) < 4000, len(str(error))
