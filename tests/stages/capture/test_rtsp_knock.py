# SPDX-License-Identifier: Apache-2.0
"""A camera is asked whether it is there, and why it gives nothing; nobody hears the password who need not."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ports import free_port

from edged.stages.capture.readers import rtsp_knock
from edged.stages.capture.readers.base import ReadFailedError
from edged.stages.capture.readers.rtsp_knock import knock, why_not
from edged.stages.capture.readers.rtsp_request import Answer, Credentials, credentials_of, prove, request

USER, PASSWORD = "admin", "p:ss/wörd@1"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"


@contextmanager
def serving(answer: Callable[[bytes, int], bytes | None], backlog: int = 16) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers each request by its text and the number of its connection; None hangs up."""
    heard: list[bytes] = []
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:

        def talk(client: socket.socket, number: int) -> None:
            with client, suppress(OSError):
                while data := client.recv(4096):
                    heard.append(data)
                    reply = answer(data, number)
                    if reply is None:
                        return
                    client.sendall(reply)

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                clients.append(client)
                threads.append(threading.Thread(target=talk, args=(client, len(clients))))
                threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield server.getsockname()[1], heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for client in clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def status(code: int, *fields: str) -> bytes:
    return "\r\n".join([f"RTSP/1.0 {code} Whatever", "CSeq: 1", *fields, "", ""]).encode()


def test_a_server_that_answers_is_there_and_hears_no_password() -> None:
    with serving(lambda data, number: status(401)) as (port, heard):
        knock(f"rtsp://{LOGIN}@127.0.0.1:{port}/stream?a=1", 5)
    assert heard[0].startswith(f"OPTIONS rtsp://127.0.0.1:{port}/stream?a=1 RTSP/1.0\r\n".encode())
    assert b"ss" not in heard[0]


def test_one_that_is_silent_for_some_connections_is_found_by_the_next() -> None:
    with serving(lambda data, number: b"" if number < 3 else status(200)) as (port, heard):
        begin = time.monotonic()
        knock(f"rtsp://127.0.0.1:{port}/s", 5)
        assert time.monotonic() - begin < 4.0
    assert len(heard) == 3


def test_a_late_answer_to_the_first_connection_counts() -> None:
    def late(data: bytes, number: int) -> bytes:
        if number > 1:
            return b""
        time.sleep(0.7)
        return status(200)

    with serving(late) as (port, _):
        begin = time.monotonic()
        knock(f"rtsp://127.0.0.1:{port}/s", 4)
        assert time.monotonic() - begin < 3.5


def test_silence_hanging_up_and_nobody() -> None:
    with serving(lambda data, number: b"") as (port, _), pytest.raises(ReadFailedError, match=r"answer within 0\.6 s"):
        knock(f"rtsp://127.0.0.1:{port}/s", 0.6)
    with serving(lambda data, number: None) as (port, _), pytest.raises(ReadFailedError, match="connection was closed"):
        knock(f"rtsp://127.0.0.1:{port}/s", 5)
    with pytest.raises(ReadFailedError, match="connection refused"):
        knock(f"rtsp://127.0.0.1:{port}/s", 5)
    with pytest.raises(ReadFailedError, match="host name no-such-host"):
        knock("rtsp://no-such-host.invalid/s", 5)


def test_an_encrypted_one_is_only_connected_to() -> None:
    with serving(lambda data, number: None) as (port, heard):
        knock(f"rtsps://127.0.0.1:{port}/s", 5)
    assert heard == []


def checks(kind: str) -> Callable[[bytes, int], bytes]:
    """A camera that knows who may see it."""
    challenge = {
        "Basic": 'WWW-Authenticate: Basic realm="cam"',
        "Digest": 'WWW-Authenticate: Digest realm="cam, south", nonce="0815", opaque="x"',
        "Digest-qop": 'WWW-Authenticate: Digest realm="cam", nonce="0815", qop="auth,auth-int", algorithm=MD5',
    }[kind]

    def answer(data: bytes, _number: int) -> bytes:
        text = data.decode()
        found = re.search(r"Authorization: (\w+) (.*)\r\n", text)
        if found is None:
            return status(401, challenge)
        if kind == "Basic":
            return status(200 if base64.b64decode(found[2]).decode() == f"{USER}:{PASSWORD}" else 401, challenge)
        given = dict(re.findall(r'(\w+)="?([^",]+(?:, south)?)"?', found[2]))
        one = hashlib.md5(f"{USER}:{given['realm']}:{PASSWORD}".encode()).hexdigest()
        two = hashlib.md5(f"DESCRIBE:{given['uri']}".encode()).hexdigest()
        middle = f":{given['nc']}:{given['cnonce']}:{given['qop']}" if kind == "Digest-qop" else ""
        right = hashlib.md5(f"{one}:0815{middle}:{two}".encode()).hexdigest()
        return status(200 if given["response"] == right else 401, challenge)

    return answer


@pytest.mark.parametrize("kind", ["Basic", "Digest", "Digest-qop"])
def test_the_right_password_is_not_what_is_wrong(kind: str) -> None:
    with serving(checks(kind)) as (port, _):
        right = why_not(f"rtsp://{LOGIN}@127.0.0.1:{port}/s", SAID)
        wrong = why_not(f"rtsp://{USER}:other@127.0.0.1:{port}/s", SAID)
        none = why_not(f"rtsp://127.0.0.1:{port}/s", SAID)
    assert (right.refused, wrong.refused, none.refused) == (False, True, True)
    assert "gives no stream that can be read" in str(right)
    assert "refuses user or password (401)" in str(wrong)
    assert "wants a user and password (401)" in str(none)


SAID = ReadFailedError("FFmpeg says: no")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak RTSP, but HTTP: check the port (554 is usual)"),
        (b"<!DOCTYPE HTML>\n<html><p>no\r\n\r\n", "does not speak RTSP, but HTTP: check the port (554 is usual)"),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "does not speak RTSP, but TLS: rtsps:// instead of rtsp://?"),
        (b"\0" * 20_000, "does not speak RTSP: check the port"),
        (b"220 mail ready\r\n\r\n", "does not speak RTSP: check the port"),
        (None, "gives no stream that can be read"),
    ],
)
def test_answers_that_are_none(reply: bytes | None, says: str) -> None:
    with serving(lambda data, number: reply) as (port, _):
        assert says in str(why_not(f"rtsp://127.0.0.1:{port}/s", SAID))
        assert "password" not in str(why_not(f"rtsp://127.0.0.1:{port}/s", SAID)) or reply is None


@pytest.mark.parametrize("reply", [b"RTSP/1.0 400 Bad Request\r\n\r\n", b"HTTP/1.1 400 No\r\n\r\n", b"", None])
def test_encryption_where_there_is_none(reply: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_knock, "_HANDSHAKE_S", 0.2)
    with serving(lambda data, number: reply) as (port, heard):
        error = why_not(f"rtsps://{LOGIN}@127.0.0.1:{port}/s", SAID)
    assert str(error) == f"127.0.0.1:{port}: TLS handshake failed: rtsp:// instead of rtsps://?"
    assert not error.refused
    assert not any(b"ss" in data and b"DESCRIBE" in data for data in heard)


def test_one_that_wants_other_tls_is_not_taken_for_plain() -> None:
    with serving(lambda data, number: b"\x15\x03\x03\x00\x02\x02\x28") as (port, _):
        error = why_not(f"rtsps://127.0.0.1:{port}/s", SAID)
    assert "TLS handshake failed (" in str(error)
    assert "rtsp://" not in str(error)


def test_where_nobody_is_there_any_more() -> None:
    port = free_port()
    assert "gives no stream that can be read" in str(why_not(f"rtsps://127.0.0.1:{port}/s", SAID))
    assert "gives no stream that can be read" in str(why_not(f"rtsp://127.0.0.1:{port}/s", SAID))


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(PRINTABLE, PRINTABLE)
def test_what_is_asked_without_proof_holds_no_credentials(user: str, password: str) -> None:
    url = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@host:554/a/b?c"
    assert credentials_of(urlsplit(url)) == Credentials(user, password)
    assert request("DESCRIBE", url, 1) == request("DESCRIBE", "rtsp://host:554/a/b?c", 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=4), PRINTABLE)
def test_challenges_of_any_kind_are_no_trouble(challenges: list[str], password: str) -> None:
    proof = prove(Answer(401, challenges), "DESCRIBE", "rtsp://host/s", Credentials("user", password))
    assert proof is None or proof.startswith(("Basic ", "Digest "))
