# SPDX-License-Identifier: Apache-2.0
"""The one socket that everything is published on; it never waits for anyone."""

from __future__ import annotations

import errno
import os
import struct
import uuid
from collections.abc import Sequence
from typing import Final

import zmq

from edged.errors import EndpointInUseError, SettingsError
from edged.messages import Message
from edged.stages.publish.address import BIND, Endpoint, parse_endpoint
from edged.stages.publish.authorized import AuthorizedKeys
from edged.stages.publish.encoding import EnvelopeFields, Envelopes, MessageEncoder
from edged.stages.publish.gatekeeper import Gatekeeper
from edged.stages.publish.peers import PeerCounter, PeerEvent, Summed
from edged.stages.publish.security import ServerCurve
from edged.stages.publish.sequences import LocalSequences, Sequences
from edged.stages.publish.subscriptions import Inbound

_HEARTBEAT_MS: Final = 2000
_HEARTBEAT_TIMEOUT_MS: Final = 6000
_HANDSHAKE_MS: Final = 5000
_MAX_INBOUND_BYTES: Final = 4096  # subscriptions are topics; a peer that sends more is disconnected
_MONITOR_HWM: Final = 10_000  # ZeroMQ's I/O thread waits when it is full
_PER_CALL: Final = 1000  # how much inbound is handled before the loop gets its turn again
_PEER_EVENTS: Final[dict[int, PeerEvent]] = {
    zmq.EVENT_ACCEPTED: "accepted",
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "succeeded",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "failed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "failed",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "failed",
    zmq.EVENT_DISCONNECTED: "disconnected",
    zmq.EVENT_CLOSED: "closed",
}

Socket = zmq.Socket[bytes]


class Publisher:
    """One socket bound to every endpoint. A subscriber that does not keep up loses messages; nobody else notices.

    For one thread. Poll `poller_sockets` and call `poll_subscriptions` when one is readable.

    Args:
        binds: endpoints, see `parse_endpoint`. Whether they may be bound is for `check_endpoint` and `hold` to say.
        device: ``daemon.name``.
        boot: UUID of this start of the daemon.
        hwm: messages kept for each subscriber that lags.
        curve: keys; then every tcp endpoint needs a key that is authorised, while ipc stays plain.
        sequences: gives out sequence numbers; default: from 1, in this process.

    Raises:
        EndpointInUseError: another process listens there.
        SettingsError: the endpoint cannot be bound.
    """

    def __init__(
        self,
        binds: Sequence[str],
        *,
        device: str,
        boot: str,
        hwm: int = 100,
        curve: ServerCurve | None = None,
        sequences: Sequences | None = None,
    ) -> None:
        self.sequences: Sequences = LocalSequences() if sequences is None else sequences
        self.sent = 0
        self.refused = 0
        self._envelopes = Envelopes(device=device, boot=boot, sequences=self.sequences)
        self._encoder = MessageEncoder()
        self._peers = PeerCounter()
        self._strangers = Summed()
        self._greedy = Summed()
        endpoints = [parse_endpoint(text) for text in binds]
        self._context: zmq.Context[Socket] = zmq.Context(io_threads=1)
        self._socket: Socket = self._context.socket(zmq.XPUB)
        self._monitor = self._watch()
        self._inbound = Inbound(self._socket, self._drain_monitor)
        self._gatekeeper: Gatekeeper | None = None
        self._guarded: list[tuple[Endpoint, str]] = []
        self._unbound: list[Endpoint] = []
        try:
            self._set_options(hwm)
            self._bind_all(endpoints, curve)
        except BaseException:
            self.close(0)
            raise

    @property
    def poller_sockets(self) -> tuple[Socket, ...]:
        """What to poll for input: the socket, its monitor and, with CURVE, the question of who may connect."""
        sockets = (self._socket, self._monitor)
        return sockets if self._gatekeeper is None else (*sockets, self._gatekeeper.socket)

    @property
    def subscribers(self) -> int:
        """Clients connected as of the last `poll_subscriptions`: handshakes less disconnects."""
        return self._peers.connected

    @property
    def handshake_failures(self) -> int:
        """Connections that ended without a handshake, as of the last `poll_subscriptions`."""
        return self._peers.handshake_failures

    @property
    def prediction_subscriptions(self) -> int:
        """How many subscriptions that include predictions of some source have come so far."""
        return self._inbound.predictions

    @property
    def odd_inbound(self) -> int:
        """Messages that came in and are no subscriptions."""
        return self._inbound.odd

    @property
    def overreached(self) -> int:
        """Connections that were ended for more topics than a client may subscribe to."""
        return self._inbound.overreached

    def envelope(self, topic: str) -> EnvelopeFields:
        """What the next message of a topic carries; uses up a sequence number, so that the message must be sent."""
        return self._envelopes.fill(topic)

    def publish(self, topic: str, message: Message, blobs: Sequence[bytes] = ()) -> None:
        """Encode a message that was built with `envelope` and send it."""
        self.send(topic, self._encoder.encode(message), blobs)

    def send(self, topic: str, body: bytes, blobs: Sequence[bytes] = ()) -> None:
        """Hand ``[topic, body, blob…]`` to every subscriber that has room for it. Never waits."""
        try:
            self._socket.send_multipart([topic.encode(), body, *blobs], zmq.DONTWAIT)
        except zmq.Again:
            # Not expected: a publishing socket drops instead. Counted all the same, for health to show.
            self.refused += 1
        else:
            self.sent += 1

    def poll_subscriptions(self) -> int:
        """Take note of who came, went and subscribed; never waits, and handles a bounded number of events a call.

        Returns:
            `prediction_subscriptions`: how many subscriptions that include predictions of some source have come so far.
        """
        if self._gatekeeper is not None:
            if self._gatekeeper.refresh():
                self._turn_everybody_out()
            self._gatekeeper.answer(_PER_CALL)
            self._bind_again()
        self._drain_monitor()
        self._inbound.take(_PER_CALL)
        return self.prediction_subscriptions

    def remarks(self) -> list[str]:
        """What the log should say of those who asked to be let in, since the last call."""
        said, denied = ([], 0) if self._gatekeeper is None else (self._gatekeeper.remarks(), self._gatekeeper.denied)
        # Who was denied failed as well.
        if new := self._strangers.new(self.handshake_failures - denied):
            said.append(f"{new} connection(s) ended without a handshake: not ZeroMQ, no subscriber, or without a key")
        if new := self._greedy.new(self.overreached):
            said.append(f"{new} connection(s) ended: more topics subscribed to than a client may")
        return said

    def close(self, linger_ms: int) -> None:
        """Close, giving subscribers up to ``linger_ms`` milliseconds to take what is still queued. Harmless twice.

        The socket file stays: it goes with the endpoint's lock.
        """
        if self._socket.closed:
            return
        # The monitor goes first and empty: ZeroMQ's I/O thread would otherwise wait for somebody to read it.
        self._drain_monitor()
        self._socket.monitor(None, 0)
        self._monitor.close(linger=0)
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        self._socket.close(linger=linger_ms)
        self._context.term()

    def _watch(self) -> Socket:
        address = f"inproc://monitor-{uuid.uuid4()}"
        events = 0
        for event in _PEER_EVENTS:
            events |= event
        self._socket.monitor(address, events)
        monitor = self._context.socket(zmq.PAIR)
        monitor.linger = 0
        monitor.rcvhwm = _MONITOR_HWM
        monitor.connect(address)
        return monitor

    def _set_options(self, hwm: int) -> None:
        for option, value in (
            (zmq.XPUB_VERBOSER, 1),  # every subscription and its end show up, not only the first for a topic
            (zmq.SNDHWM, hwm),
            (zmq.LINGER, 0),
            (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS),
            (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
            (zmq.MAXMSGSIZE, _MAX_INBOUND_BYTES),
        ):
            self._socket.set(option, value)

    def _bind_all(self, endpoints: Sequence[Endpoint], curve: ServerCurve | None) -> None:
        """Bind ipc first: an endpoint keeps the security that was set when it was bound."""
        for endpoint in endpoints:
            if endpoint.path is not None:
                self._bind(endpoint)
                os.chmod(endpoint.path, 0o660)
        if curve is not None:
            known = curve.authorized if curve.folder is None else AuthorizedKeys(curve.folder, curve.authorized)
            self._gatekeeper = Gatekeeper(self._context, known)
            self._gatekeeper.refresh()
            self._socket.curve_server = True
            self._socket.curve_secretkey = curve.secret
        for endpoint in endpoints:
            if endpoint.path is None:
                self._bind_tcp(endpoint)

    def _bind_tcp(self, endpoint: Endpoint) -> None:
        self._socket.ipv6 = ":" in endpoint.host
        self._bind(endpoint)
        if self._gatekeeper is not None:
            self._guarded.append((endpoint, self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")))

    def _turn_everybody_out(self) -> None:
        """End every connection over tcp: ZeroMQ cannot end one alone, and those that are still welcome come back."""
        for endpoint, bound in self._guarded:
            self._socket.unbind(bound)
            self._unbound.append(endpoint)
        self._guarded.clear()

    def _bind_again(self) -> None:
        """Listen again; where ZeroMQ has not let go of the address yet, at the next call."""
        waiting, self._unbound = self._unbound, []
        for endpoint in waiting:
            try:
                self._bind_tcp(endpoint)
            except EndpointInUseError:
                self._unbound.append(endpoint)

    def _bind(self, endpoint: Endpoint) -> None:
        try:
            self._socket.bind(endpoint.text)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise EndpointInUseError(
                    "already in use by another process",
                    where=endpoint.text,
                    remedy="stop it, or give this daemon another publish.bind",
                ) from error
            raise SettingsError(
                f"{endpoint.text} cannot be bound: {zmq.strerror(error.errno or 0)}",
                where=BIND,
                remedy="bind to an address of this machine or to a socket in a folder that this user can write",
            ) from error

    def _drain_monitor(self) -> None:
        for _ in range(_PER_CALL):
            try:
                head, endpoint, *_rest = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            kind, value = struct.unpack("=Hi", head)
            event = _PEER_EVENTS.get(kind)
            if event is None:
                continue
            self._peers.note(event, value, endpoint.decode(errors="replace"))
            if event == "accepted":
                self._inbound.subscriptions.begin(value)
            elif event == "disconnected":
                self._inbound.subscriptions.forget(value)
            elif event == "closed":
                self._inbound.subscriptions.keep(self._peers.descriptors)
