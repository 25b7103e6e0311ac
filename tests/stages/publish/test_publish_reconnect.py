# SPDX-License-Identifier: Apache-2.0
"""Connections that ZeroMQ gives up for good are made again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from edged.messages import EVENT, Event
from edged.stages.publish.client import Subscriber
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.reconnect import Reconnector
from edged.stages.publish.security import create_keys, load_client_curve, load_server_curve

Make = Callable[..., Publisher]
Wait = Callable[..., None]


def until_heard(publisher: Publisher, subscriber: Subscriber, timeout_s: float = 10.0) -> bool:
    """Publish until the subscriber hears of it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        publisher.poll_subscriptions()
        publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k"))
        if subscriber.receive(0.05) is not None:
            return True
    return False


def test_a_message_that_is_too_long_is_not_the_last_one(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher()
    with Subscriber(endpoint, max_bytes=10_000) as subscriber:
        assert until_heard(publisher, subscriber)
        wait_until(publisher, lambda: publisher.subscribers == 1)
        publisher.send(EVENT, b"x" * 20_000)
        # It hangs up, and comes back only once it is asked for messages.
        wait_until(publisher, lambda: publisher.subscribers == 0)
        while subscriber.receive(0) is not None:
            continue
        assert until_heard(publisher, subscriber)


def test_who_was_refused_gets_in_once_it_is_authorised(
    make_publisher: Make, wait_until: Wait, tcp: str, tmp_path: Path
) -> None:
    for name in ("daemon", "known", "later"):
        create_keys(tmp_path, name)
    (tmp_path / "authorized").mkdir()
    shutil.copy(tmp_path / "known.key", tmp_path / "authorized")
    curve = load_server_curve(tmp_path / "daemon.key_secret", tmp_path / "authorized")
    publisher = make_publisher(binds=[tcp], curve=curve)
    with Subscriber(tcp, curve=load_client_curve(tmp_path / "daemon.key", tmp_path / "later.key_secret")) as later:
        assert not until_heard(publisher, later, 0.5)
        wait_until(publisher, lambda: publisher.handshake_failures >= 1)
        shutil.copy(tmp_path / "later.key", tmp_path / "authorized")
        assert until_heard(publisher, later)
    assert any("refused" in text for text in publisher.remarks())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


HERE = "tcp://127.0.0.1:1"


@pytest.fixture
def reconnector() -> Iterator[tuple[Reconnector, Clock]]:
    """One that looks after a connection to nobody; what ZeroMQ says of it is made up."""
    clock = Clock()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.linger = 0
    subscriber.reconnect_ivl = -1
    made = Reconnector(context, subscriber, clock)
    made.connect(HERE)
    yield made, clock
    made.close()
    subscriber.close()
    context.term()


def test_less_and_less_often_while_nothing_changes(reconnector: tuple[Reconnector, Clock]) -> None:
    made, clock = reconnector
    waits = []
    for _ in range(8):
        made._note(zmq.EVENT_DISCONNECTED, HERE)
        begin, before = clock.now, made.given_up
        while made.given_up == before:
            clock.now += 0.5
            made.tend()
            assert clock.now < begin + 60
        waits.append(clock.now - begin)
    assert waits[0] <= 1.5
    assert waits == sorted(waits)
    assert 30 <= waits[-1] <= 31


@pytest.mark.parametrize("event", [zmq.EVENT_CONNECT_RETRIED, zmq.EVENT_HANDSHAKE_SUCCEEDED])
def test_what_zeromq_mends_itself_is_left_alone(reconnector: tuple[Reconnector, Clock], event: int) -> None:
    made, clock = reconnector
    made._note(zmq.EVENT_DISCONNECTED, HERE)
    made._note(event, HERE)
    clock.now += 100
    made.tend()
    assert made.given_up == 0
