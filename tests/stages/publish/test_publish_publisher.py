# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import stat
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import zmq
from support.daemon import wait_until as eventually
from support.open_files import open_files

from edged.errors import EndpointInUseError, SettingsError
from edged.messages import EVENT, HEALTH, Event, Health
from edged.stages.publish.client import Subscriber
from edged.stages.publish.endpoint import parse_endpoint
from edged.stages.publish.publisher import Publisher

Make = Callable[..., Publisher]
Wait = Callable[..., None]
TOPIC = "v1/predictions/north/"


def event(publisher: Publisher, text: str = "") -> Event:
    return Event(**publisher.envelope(EVENT), kind="k", text=text)


def test_a_message_arrives_whole(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher()
    with Subscriber(endpoint) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        publisher.publish(EVENT, event(publisher, "hello"), [b"\x00\xff", b""])
        received = subscriber.receive(5)
    assert received is not None
    assert (received.topic, received.blobs, received.lost) == (EVENT, (b"\x00\xff", b""), 0)
    assert isinstance(received.message, Event)
    assert (received.message.text, received.message.seq, received.message.boot) == ("hello", 1, "boot-1")
    assert publisher.sent == 1


def test_one_socket_serves_ipc_and_tcp(make_publisher: Make, wait_until: Wait, endpoint: str, tcp: str) -> None:
    publisher = make_publisher(binds=[tcp, endpoint])
    with Subscriber(endpoint) as one, Subscriber(tcp) as two:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 2)
        publisher.publish(EVENT, event(publisher))
        assert one.receive(5) is not None
        assert two.receive(5) is not None
        wait_until(publisher, lambda: publisher.subscribers == 2)


def test_ipv6_loopback(make_publisher: Make, wait_until: Wait) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    publisher = make_publisher(binds=[f"tcp://[::1]:{port}"])
    with Subscriber(f"tcp://[::1]:{port}") as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        publisher.publish(EVENT, event(publisher))
        assert subscriber.receive(5) is not None


def test_group_members_may_open_the_socket_and_others_not(make_publisher: Make, sock_dir: Path) -> None:
    before = os.umask(0)
    try:
        make_publisher()
    finally:
        os.umask(before)
    assert stat.S_IMODE((sock_dir / "pub.sock").stat().st_mode) == 0o660


def test_subscriptions_are_counted_one_by_one_and_never_taken_back(
    make_publisher: Make, wait_until: Wait, endpoint: str
) -> None:
    publisher = make_publisher()
    counting = ["", "v1/", "v1/predictions/", TOPIC, TOPIC]
    others = ["v1/health/", "v2/", "v1/predictionsX"]
    for count, topic in enumerate(counting, 1):
        with Subscriber(endpoint, [topic]):
            wait_until(publisher, lambda count=count: publisher.prediction_subscriptions == count)
    with Subscriber(endpoint, others):
        wait_until(publisher, lambda: publisher.subscribers == 1)
        with Subscriber(endpoint, ["v1/predictions/x/"]):
            wait_until(publisher, lambda: publisher.prediction_subscriptions > len(counting))
    assert publisher.poll_subscriptions() == len(counting) + 1
    wait_until(publisher, lambda: publisher.subscribers == 0)
    assert publisher.poll_subscriptions() == len(counting) + 1


def test_odd_peers_are_counted_and_do_no_harm(make_publisher: Make, wait_until: Wait, endpoint: str, tcp: str) -> None:
    publisher = make_publisher(binds=[endpoint, tcp])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with Subscriber(endpoint) as subscriber:
            wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
            rude = context.socket(zmq.XSUB)
            rude.linger = 0
            rude.connect(tcp)
            for frames in ([b"junk"], [b""], [b"a", b"\x01v1/predictions/"], [b"\x02"]):
                rude.send_multipart(frames)
            wait_until(publisher, lambda: publisher.odd_inbound == 4)
            rude.send(b"x" * 100_000)  # more than MAXMSGSIZE: thrown out
            wait_until(publisher, lambda: publisher.subscribers == 1)
            rude.close()
            dealer = context.socket(zmq.DEALER)
            dealer.linger = 0
            dealer.connect(tcp)
            wait_until(publisher, lambda: publisher.handshake_failures >= 1)
            dealer.close()
            before = publisher.handshake_failures
            with socket.create_connection(("127.0.0.1", int(tcp.rsplit(":", 1)[1]))) as scanner:
                scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(publisher, lambda: publisher.handshake_failures > before)
            publisher.publish(EVENT, event(publisher))
            assert subscriber.receive(5) is not None
            assert publisher.prediction_subscriptions == 1
            wait_until(publisher, lambda: publisher.subscribers == 1)
    finally:
        context.term()


def test_a_subscriber_that_stops_reading_costs_neither_time_nor_memory_nor_others(
    make_publisher: Make, wait_until: Wait, endpoint: str
) -> None:
    publisher = make_publisher(hwm=10)
    process = psutil.Process()
    body = os.urandom(64 * 1024)
    slow_sends, count = 0, 4000
    with Subscriber(endpoint, [TOPIC], hwm=2), Subscriber(endpoint, ["v1/event/"]) as reader:
        wait_until(publisher, lambda: publisher.subscribers == 2 and publisher.prediction_subscriptions == 1)
        publisher.publish(EVENT, event(publisher))
        assert reader.receive(5) is not None  # its subscription is in force
        before = process.memory_info().rss
        most = before
        for index in range(count):
            start = time.monotonic()
            publisher.send(TOPIC, body)
            slow_sends += time.monotonic() - start > 0.005
            if index % 100 == 0:
                most = max(most, process.memory_info().rss)
                publisher.publish(EVENT, event(publisher))
                received = reader.receive(5)
                assert received is not None
                assert received.lost == 0
    # A send that waited for the subscriber would wait every time; a busy machine holds up some.
    assert slow_sends <= count // 40
    assert most - before < 30e6, "250 MB were sent"
    assert publisher.refused == 0


def test_sending_is_quick(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher(hwm=1000)
    body = b"x" * 1024
    with Subscriber(endpoint) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        took = []
        for _ in range(2000):
            start = time.monotonic_ns()
            publisher.send(TOPIC, body)
            took.append((time.monotonic_ns() - start) / 1000)
        subscriber.latest(0.1)
    median = statistics.median(took)
    print(f"send of 1 kB to one subscriber: median {median:.1f} us, p99 {sorted(took)[1980]:.1f} us")
    assert median < 100


def test_closing_is_bounded_however_stuck_a_subscriber_is(
    make_publisher: Make, wait_until: Wait, endpoint: str
) -> None:
    publisher = make_publisher()
    with Subscriber(endpoint, hwm=1):
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        for _ in range(1000):
            publisher.send(TOPIC, b"x" * 10_000)
        start = time.monotonic()
        publisher.close(200)
        assert 0.15 < time.monotonic() - start < 5.0
    publisher.close(200)


def test_closing_flushes_within_its_linger(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher(hwm=1000)
    with Subscriber(endpoint) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        for _ in range(500):
            publisher.publish(EVENT, event(publisher, "x" * 1000))
        publisher.close(1000)
        assert sum(1 for _ in subscriber.messages(0.5)) == 500
        assert not subscriber.lost


def test_a_flood_of_connections_does_not_hang_the_end(make_publisher: Make, sock_dir: Path) -> None:
    publisher = make_publisher()
    for _ in range(400):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(sock_dir / "pub.sock"))
    start = time.monotonic()
    publisher.close(0)
    assert time.monotonic() - start < 5.0


def test_health_lists_the_last_numbers(make_publisher: Make, wait_until: Wait, endpoint: str) -> None:
    publisher = make_publisher()
    with Subscriber(endpoint) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        publisher.publish(EVENT, event(publisher))
        envelope = publisher.envelope(HEALTH)
        publisher.publish(HEALTH, Health(**envelope, state="ready", last_seq=publisher.sequences.last()))
        kinds = [received.message for received in subscriber.messages(0.5)]
    assert isinstance(kinds[1], Health)
    assert kinds[1].last_seq == {EVENT: 1, HEALTH: 1}


def test_a_port_in_use_is_said_so_and_nothing_stays_open(make_publisher: Make, endpoint: str) -> None:
    before = open_files()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(EndpointInUseError, match="tcp://127"):
            make_publisher(binds=[endpoint, f"tcp://127.0.0.1:{listener.getsockname()[1]}"])
    assert not open_files() - before


@pytest.mark.parametrize("bind", ["tcp://192.0.2.1:5555", "tcp://no-such-nic:5555", "ipc:///proc/nowhere/x.sock"])
def test_what_cannot_be_bound_is_a_settings_error(make_publisher: Make, bind: str) -> None:
    parse_endpoint(bind)
    with pytest.raises(SettingsError, match="cannot be bound"):
        make_publisher(binds=[bind])


def test_opening_and_closing_leaks_nothing(make_publisher: Make) -> None:
    make_publisher().close(0)
    before, threads = open_files(), set(os.listdir("/proc/self/task"))
    for _ in range(20):
        make_publisher().close(0)
    # The kernel may still be clearing up behind a thread that has ended.
    eventually(lambda: not open_files() - before, 5, "end of all sockets")
    eventually(lambda: not set(os.listdir("/proc/self/task")) - threads, 5, "end of all threads")
