# SPDX-License-Identifier: Apache-2.0
"""The bad network of the camera tests does what it says, and nothing else."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.proxy import FINE, Proxy, Weather
from support.rtsp_wire import Damager

WAIT_S = 5.0


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,)).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(WAIT_S)


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), WAIT_S) as client:
        yield client


def ask(client: socket.socket, text: bytes) -> float:
    """Send something, wait until all of it came back; returns how long that took (seconds)."""
    begin = time.monotonic()
    client.sendall(text)
    got = b""
    while len(got) < len(text):
        portion = client.recv(65536)
        assert portion, "closed"
        got += portion
    assert got == text
    return time.monotonic() - begin


def silent(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(WAIT_S)
    return False


def test_passes_everything_by_default(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy, connected(proxy) as one, connected(proxy) as two:
        ask(one, bytes(range(256)) * 4000)
        ask(two, b"x")
        assert (proxy.accepted, proxy.open) == (2, 2)


def test_cut_ends_a_connection_properly_and_reset_does_not(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy:
        with connected(proxy) as client:
            ask(client, b"x")
            proxy.cut()
            assert client.recv(1) == b""
        with connected(proxy) as client:
            ask(client, b"x")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connected(proxy) as client:
            ask(client, b"x")


def test_refuses_and_listens_again_at_the_same_port(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy:
        with connected(proxy) as before:
            ask(before, b"x")
            proxy.set(Weather(refuse=True))
            with pytest.raises(ConnectionRefusedError), connected(proxy):
                pass
            ask(before, b"what stands goes on")
        port = proxy.port
        proxy.set(FINE)
        with connected(proxy) as client:
            ask(client, b"x")
        assert proxy.port == port


def test_swallows_old_and_new_connections_and_resets_them_in_the_end(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy, connected(proxy) as old:
        ask(old, b"x")
        proxy.set(Weather(swallow=True))
        with connected(proxy) as new:
            for client in (old, new):
                client.sendall(b"anybody there?")
                assert silent(client, 0.1)
            proxy.set(FINE)
            for client in (old, new):
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        with connected(proxy) as client:
            ask(client, b"x")


def test_what_was_frozen_comes_late_but_whole(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy, connected(proxy) as client:
        ask(client, b"x")
        proxy.set(Weather(freeze=True))
        client.sendall(b"late")
        assert silent(client, 0.1)
        proxy.set(FINE)
        assert client.recv(4) == b"late"


def test_delays_without_throttling(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy, connected(proxy) as client:
        proxy.set(Weather(delay_s=0.05))
        took = [ask(client, bytes(10_000)) for _ in range(3)]
        assert 0.1 <= min(took) < 1.0, took


def test_throttles_what_the_camera_sends(echo: int) -> None:
    with Proxy(echo, rtsp=False) as proxy, connected(proxy) as client:
        proxy.set(Weather(bytes_per_s=20_000))
        assert 0.3 <= ask(client, bytes(8_000)) < WAIT_S


def test_without_a_camera_connections_are_closed() -> None:
    with Proxy() as proxy:
        with connected(proxy) as client:
            assert client.recv(1) == b""
        assert (proxy.accepted, proxy.open) == (1, 0)


# the damage ----------------------------------------------------------------------------------------------------------

PART = st.one_of(
    st.binary(max_size=40).map(lambda body: b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body),
    st.just(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
    st.tuples(st.integers(0, 3), st.binary(max_size=60)).map(
        lambda each: b"$" + bytes([each[0]]) + len(each[1]).to_bytes(2, "big") + each[1]
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PART, max_size=8), st.integers(1, 50), st.sampled_from([0.0, 0.5, 1.0]))
def test_damage_keeps_the_framing(parts: list[bytes], portion: int, share: float) -> None:
    sent = b"".join(parts)
    damager = Damager(random.Random(0))
    got = b"".join(damager.pass_on(sent[at : at + portion], share) for at in range(0, len(sent), portion))
    assert len(got) + len(damager.flush()) == len(sent) == len(got)
    at = 0
    for part in parts:
        through = got[at : at + len(part)]
        at += len(part)
        untouched = share == 0.0 or not part.startswith(b"$") or part[1] % 2
        assert through == part if untouched else through[:16] == part[:16]
    assert damager.packets == sum(part.startswith(b"$") and part[1] % 2 == 0 for part in parts)
    assert damager.damaged == {0.0: 0, 1.0: damager.packets}.get(share, damager.damaged)


def test_damage_scrambles() -> None:
    packet = b"$\0" + (1012).to_bytes(2, "big") + bytes(1012)
    got = Damager(random.Random(0)).pass_on(packet, 1.0)
    assert got[:16] == packet[:16]
    assert len(set(got[16:])) > 200
