# SPDX-License-Identifier: Apache-2.0
"""How to subscribe to a daemon: typed messages, losses counted, every wait with a deadline.

with Subscriber("ipc:///run/edged/predictions.sock", ["v1/predictions/", "v1/health/"]) as subscriber:
    for received in subscriber:
        print(received.topic, received.message)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

import msgspec
import zmq

from edged.errors import SettingsError
from edged.messages import BY_SCHEMA, EVENT, HEALTH, STATS, THERMAL, Health, Message, Prediction, predictions_topic
from edged.stages.publish.address import DEFAULT_ENDPOINT
from edged.stages.publish.received import Received, decode_mask, decode_tensors
from edged.stages.publish.reconnect import Reconnector
from edged.stages.publish.sequences import GapTracker

if TYPE_CHECKING:
    from edged.stages.publish.security import ClientCurve

__all__ = ["Received", "Subscriber", "decode_mask", "decode_tensors"]

_DRAIN_LIMIT: Final = 10_000
_MAX_BYTES: Final = 64 * 1024 * 1024
_TEND_MS: Final = 500
_TOPICS: Final = {
    "edged.health/1": HEALTH,
    "edged.thermal/1": THERMAL,
    "edged.stats/1": STATS,
    "edged.event/1": EVENT,
}


class Subscriber:
    """A subscription to one daemon or several.

    It connects in the background and reconnects by itself: a daemon that is not running yet is no error, and neither is
    one that refuses this client's key: it may be authorised later.
    For one thread. Subscribe to ``v1/health/`` too, to learn about losses after the last message of a topic.

    Args:
        connect: endpoint or endpoints to connect to.
        topics: prefixes of the topics wanted; ``""`` is everything. Topics end in ``/``.
        timeout_s: how long iteration waits for a message before it ends, seconds.
        hwm: messages kept when you read too slowly; beyond, the oldest stay and the newest are lost, and counted.
        max_bytes: largest part of a message to accept, bytes.
        curve: keys for a tcp endpoint with CURVE, see `edged.stages.publish.security.load_client_curve`.

    Attributes:
        malformed: messages that were not understood and skipped, those of unknown kinds included.
        unknown: messages among them whose schema this version does not know: the daemon is newer.

    Raises:
        SettingsError: an endpoint that cannot be connected to.
    """

    def __init__(
        self,
        connect: str | Sequence[str] = DEFAULT_ENDPOINT,
        topics: Sequence[str] = ("",),
        *,
        timeout_s: float = 10.0,
        hwm: int = 1000,
        max_bytes: int = _MAX_BYTES,
        curve: ClientCurve | None = None,
    ) -> None:
        self.malformed = 0
        self.unknown = 0
        self._timeout_s = timeout_s
        self._tracker = GapTracker()
        self._head = msgspec.json.Decoder(_Head)
        self._decoders = {schema: msgspec.json.Decoder(kind) for schema, kind in BY_SCHEMA.items()}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._connections = Reconnector(self._context, self._socket)
        try:
            self._set_options(hwm, max_bytes, curve)
            for topic in (topics,) if isinstance(topics, str) else topics:
                self._socket.subscribe(topic)
            for endpoint in (connect,) if isinstance(connect, str) else connect:
                self._connect(endpoint)
        except BaseException:
            self.close()
            raise

    @property
    def lost(self) -> Mapping[str, int]:
        """Messages lost so far, by topic."""
        return self._tracker.lost

    @property
    def restarts(self) -> int:
        """How often a daemon came back with a new boot id."""
        return self._tracker.restarts

    def unsubscribe(self, topic: str) -> None:
        """Have no more of a prefix that was subscribed to; what is on its way still comes."""
        self._socket.unsubscribe(topic)

    def receive(self, timeout_s: float) -> Received | None:
        """The next message, or None when ``timeout_s`` seconds have passed without one."""
        deadline = time.monotonic() + timeout_s
        late_skips = _DRAIN_LIMIT
        while late_skips > 0 and (frames := self._next_frames(deadline)) is not None:
            received = self._accept(frames)
            if received is not None:
                return received
            if time.monotonic() >= deadline:
                late_skips -= 1
        return None

    def messages(self, timeout_s: float) -> Iterator[Received]:
        """Message after message, until ``timeout_s`` seconds pass without one."""
        while (received := self.receive(timeout_s)) is not None:
            yield received

    def latest(self, timeout_s: float) -> dict[str, Received]:
        """Skip whatever is outdated: the newest message of each topic that has arrived.

        Waits up to ``timeout_s`` seconds for a first one; empty when none came. What was skipped is not lost.
        """
        newest: dict[str, Received] = {}
        received = self.receive(timeout_s)
        for _ in range(_DRAIN_LIMIT):
            if received is None:
                break
            newest[received.topic] = received
            received = self.receive(0.0)
        return newest

    def close(self) -> None:
        """Disconnect. Harmless twice."""
        if self._socket.closed:
            return
        self._connections.close()
        self._socket.close(linger=0)
        self._context.term()

    def __iter__(self) -> Iterator[Received]:
        return self.messages(self._timeout_s)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_options(self, hwm: int, max_bytes: int, curve: ClientCurve | None) -> None:
        for option, value in (
            (zmq.RCVHWM, hwm),
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, max_bytes),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 250),
            # No heartbeats from this side: libzmq 4.3.5 aborts the process when one times out while the queue is full
            # of messages that nobody reads (zeromq/libzmq issue 4767). TCP itself notices that the daemon is gone.
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 10),
            (zmq.TCP_KEEPALIVE_INTVL, 5),
            (zmq.TCP_KEEPALIVE_CNT, 3),
        ):
            self._socket.set(option, value)
        if curve is not None:
            self._socket.curve_serverkey = curve.server
            self._socket.curve_publickey = curve.public
            self._socket.curve_secretkey = curve.secret

    def _connect(self, endpoint: str) -> None:
        self._socket.ipv6 = "[" in endpoint
        try:
            self._connections.connect(endpoint)
        except zmq.ZMQError as error:
            raise SettingsError(
                f"cannot connect: {zmq.strerror(error.errno or 0)}",
                where=endpoint,
                remedy="give ipc:///path/to.sock or tcp://host:port",
            ) from error

    def _next_frames(self, deadline: float) -> list[bytes] | None:
        while True:
            try:
                return self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                self._connections.tend()
                left_ms = math.ceil((deadline - time.monotonic()) * 1000)
                if left_ms <= 0:
                    return None
                self._socket.poll(min(left_ms, _TEND_MS))

    def _accept(self, frames: list[bytes]) -> Received | None:
        """Understand a message; None, and counted, when that is not possible."""
        message = self._decode(frames)
        if message is None:
            self.malformed += 1
            return None
        topic = _topic_of(message)
        if frames[0] != topic.encode() or not _has_blobs(message, len(frames) - 2):
            self.malformed += 1
            return None
        lost = self._tracker.observe(message.device, message.boot, topic, message.seq)
        missing = self._tracker.observe_last(message.device, message.last_seq) if isinstance(message, Health) else {}
        return Received(topic, message, tuple(frames[2:]), frames[1], lost, missing)

    def _decode(self, frames: list[bytes]) -> Message | None:
        if len(frames) < 2:
            return None
        try:
            decoder = self._decoders.get(self._head.decode(frames[1]).schema)
            if decoder is None:
                self.unknown += 1
                return None
            return decoder.decode(frames[1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class _Head(msgspec.Struct):
    """What tells the kinds of message apart."""

    schema: str


def _topic_of(message: Message) -> str:
    if isinstance(message, Prediction):
        return predictions_topic(message.source)
    return _TOPICS[message.schema]


def _has_blobs(message: Message, count: int) -> bool:
    """Whether every blob that a message refers to came with it."""
    if not isinstance(message, Prediction):
        return True
    mask = [] if isinstance(message.mask, msgspec.UnsetType) else [message.mask.blob]
    tensors = [] if isinstance(message.tensors, msgspec.UnsetType) else [tensor.blob for tensor in message.tensors]
    return all(blob < count for blob in mask + tensors)
