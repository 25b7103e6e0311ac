# SPDX-License-Identifier: Apache-2.0
"""HTTP over real sockets: what clients get, what they cannot do to the daemon, and ports that are taken."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.daemon import wait_until
from support.open_files import open_files

from edged.runtime.web import Notice, Web
from edged.runtime.web_pages import Answer
from edged.runtime.web_server import LONGEST_HEAD, MOST_CONNECTIONS, Server
from edged.shm.wake import Wake

PATIENCE_S = 0.4
UNHURRIED_S = 5.0
"""Where nobody is to be waited for in vain: on a busy machine an answer takes a while."""
BIG = b"x" * 16_000_000  # more than the kernel takes


def pages(path: str, accept: str) -> Answer:
    """Two pages."""
    if path == "/fails":
        raise ValueError("a bug")
    return Answer(200, "text/plain", BIG if path == "/big" else f"{path} {accept}".encode())


@contextmanager
def serving(host: str = "127.0.0.1", patience_s: float = UNHURRIED_S) -> Iterator[int]:
    """A server at a free port."""
    stop = Wake()
    with Server(host, 0, pages, patience_s=patience_s) as server:
        thread = threading.Thread(target=server.serve_until, args=(stop,), name="http")
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)
            assert not thread.is_alive()
            stop.close()


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that is there for one test."""
    with serving() as found:
        yield found


@pytest.fixture
def hurried() -> Iterator[int]:
    """The same, of one that waits for nobody for long."""
    with serving(patience_s=PATIENCE_S) as found:
        yield found


def ask(port: int, method: str = "GET", path: str = "/a", host: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def say(port: int, data: bytes) -> bytes:
    """All that comes back for these bytes, until the server ends the connection."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        # A server that has heard enough ends the connection, and then there is no sending any more.
        with suppress(ConnectionError):
            connection.sendall(data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while more := connection.recv(65536):
                said += more
    return said


def test_get_and_head(port: int) -> None:
    assert ask(port, Accept="text/x") == (200, "/a text/x")
    assert ask(port, "HEAD") == (200, "")
    head = say(port, b"HEAD /a HTTP/1.1\r\n\r\n").decode()
    assert head.startswith("HTTP/1.0 200 OK\r\nServer: edged\r\n")
    assert "\r\nContent-Length: 3\r\n" in head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert ask(port, method) == (405, "only GET and HEAD\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /a HTTP/1.1\r\n" + b"X: " + b"y" * LONGEST_HEAD + b"\r\n\r\n", b"HTTP/1.0 431"),
        (b"GET /" + b"a" * LONGEST_HEAD, b"HTTP/1.0 431"),
        (b"GET /a HTTP/9.9\r\n\r\n", b"Invalid HTTP version"),
        (b"GET\r\n\r\n", b""),
        (b"GET /a HTTP/1.1\r\nX: y\r\n", b""),  # left in the middle
        (b"", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b""),  # TLS at the wrong door
    ],
)
def test_odd_requests_end_with_an_answer_or_none_and_the_next_one_is_served(
    port: int, data: bytes, status: bytes
) -> None:
    assert say(port, data).startswith(status)
    assert ask(port)[0] == 200


def test_whatever_is_sent_the_next_one_is_served() -> None:
    with serving() as port:

        @settings(max_examples=40, deadline=None)
        @given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda data: b"GET " + data + b"\r\n\r\n"))
        def attempt(data: bytes) -> None:
            say(port, data)

        attempt()
        assert ask(port)[0] == 200


def test_a_slow_request_is_ended_in_time_however_it_dribbles(hurried: int) -> None:
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", hurried), timeout=5) as connection:
        ended = False
        while not ended and time.monotonic() - begin < 10:
            try:
                connection.sendall(b"X")
                connection.settimeout(0.05)
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
    assert ended
    assert PATIENCE_S * 0.9 <= time.monotonic() - begin < PATIENCE_S + 5


def test_a_client_that_does_not_read_is_left(hurried: int) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", hurried))
        connection.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        wait_until(lambda: _busy() == 1, 5, "connection's thread")
        wait_until(lambda: not _busy(), 5, "end of the connection's thread")
    assert ask(hurried)[0] == 200


def test_a_client_that_reads_in_sips_is_left(hurried: int) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", hurried))
        begin = time.monotonic()
        connection.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        wait_until(lambda: _busy() == 1, 5, "connection's thread")
        while _busy() and time.monotonic() - begin < 10:
            connection.recv(1000)
            time.sleep(0.01)
        assert PATIENCE_S * 0.9 <= time.monotonic() - begin < PATIENCE_S + 5


def test_the_oldest_goes_when_there_are_too_many(port: int) -> None:
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(MOST_CONNECTIONS)]
    try:
        wait_until(lambda: _busy() == MOST_CONNECTIONS, 5, "thread for each connection")
        # At once, not when somebody's time is up.
        assert ask(port)[0] == 200
        assert waiting[0].recv(1) == b""
        wait_until(lambda: _busy() == MOST_CONNECTIONS - 1, 5, "free place")
        # All others are served yet.
        for each in waiting[1:]:
            each.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            assert each.recv(12) == b"HTTP/1.0 200"
        wait_until(lambda: not _busy(), 5, "end of all")
    finally:
        for each in waiting:
            each.close()


def test_a_crowd_that_says_nothing_keeps_nobody_from_asking(port: int) -> None:
    stop = threading.Event()

    def crowd() -> None:
        held: deque[socket.socket] = deque(maxlen=2 * MOST_CONNECTIONS)
        while not stop.wait(0.01):
            with suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
        for each in held:
            each.close()

    thread = threading.Thread(target=crowd)
    thread.start()
    try:
        wait_until(lambda: _busy() == MOST_CONNECTIONS, 5, "crowd")
        for _ in range(10):
            # On a busy machine the crowd may push one aside; who asks again is heard.
            wait_until(lambda: _is_answered(port), 5, "answer")
            # A thread that has given its place away may not be quite gone.
            wait_until(lambda: _busy() <= MOST_CONNECTIONS, 5, "bound on threads")
    finally:
        stop.set()
        thread.join(10)


def test_a_bug_costs_one_answer(port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert say(port, b"GET /fails HTTP/1.1\r\n\r\n") == b""
    assert "could not be answered" in caplog.text
    assert ask(port)[0] == 200


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_other_ways_to_say_here(host: str) -> None:
    try:
        with serving(host) as port:
            assert ask(port, host=host)[0] == 200
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")


# the endpoint --------------------------------------------------------------------------------------------------------


def taken() -> tuple[socket.socket, int]:
    """A port that somebody else listens at."""
    other = socket.create_server(("127.0.0.1", 0))
    return other, other.getsockname()[1]


def notices_of(web: Web) -> list[Notice]:
    """Wait until there is something to tell."""
    found: list[Notice] = []

    def look() -> bool:
        found.extend(web.take_notices())
        return bool(found)

    wait_until(look, 30, "notice")
    return found


def test_an_endpoint_starts_moves_and_stops() -> None:
    other, port = taken()
    other.close()
    web = Web(f"127.0.0.1:{port}", "d", "b")
    wait_until(lambda: not _busy(), 5, "end of what another test has begun")
    before = open_files()
    web.start()
    wait_until(lambda: bool(web.where), 5, "endpoint")
    assert ask(port, path="/livez") == (200, "live\n")
    web.rebind("127.0.0.1:0")
    wait_until(lambda: bool(web.where), 5, "endpoint")
    assert ask(int(web.where.rpartition(":")[2]), path="/livez")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    web.rebind("")
    assert web.where == ""
    web.stop()
    wait_until(lambda: not _busy(), 5, "end of all")
    assert (web.take_notices(), open_files() - before) == ([], set())


def test_a_taken_port_is_told_once_and_used_when_it_is_free() -> None:
    other, port = taken()
    web = Web(f"127.0.0.1:{port}", "d", "b", retry_s=0.05)
    web.start()
    try:
        notices = notices_of(web)
        assert [notice[:2] for notice in notices] == [("http-unavailable", "warning")]
        assert f"127.0.0.1:{port} cannot be bound: Address already in use" in notices[0].text
        time.sleep(0.15)  # several tries more
        assert web.take_notices() == []
        other.close()
        wait_until(lambda: bool(web.where), 5, "endpoint")
        assert [notice.kind for notice in web.take_notices()] == ["http-available"]
        assert ask(port, path="/livez")[0] == 200
    finally:
        other.close()
        web.stop()


@pytest.mark.parametrize("bind", ["192.0.2.1:9464", "no.such.host.invalid:9464", "\u00fc..:1"])
def test_an_address_that_is_not_here_is_told(bind: str) -> None:
    web = Web(bind, "d", "b")
    web.start()
    notices = notices_of(web)
    web.stop()
    assert bind in notices[0].text
    assert 'give it another http.bind, or "" for none' in notices[0].text


def test_others_who_can_reach_it_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    web = Web("*:0", "d", "b")
    with caplog.at_level("WARNING", "edged"):
        web.start()
        wait_until(lambda: bool(web.where), 5, "endpoint")
        web.stop()
    assert "everybody who reaches 0.0.0.0:" in caplog.text


def _is_answered(port: int) -> bool:
    try:
        return ask(port)[0] == 200
    except OSError:
        return False


def _busy() -> int:
    """Threads of connections."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())
