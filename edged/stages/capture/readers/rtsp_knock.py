# SPDX-License-Identifier: Apache-2.0
"""Asking an RTSP server before FFmpeg does whether it is there, and after FFmpeg failed, why it gives no stream.

FFmpeg is slow to say that nobody answers, and says of most answers no more than that they were none.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from edged.stages.capture.readers.base import ReadFailedError
from edged.stages.capture.readers.rtsp_request import LONGEST_S, Answer, credentials_of, prove, read_answer, request

_PORTS = {"rtsp": 554, "rtsps": 322}
_EVERY_S = 0.5
_ASK_S = 1.0
_HANDSHAKE_S = 2.0
_MOST_ADDRESSES = 4
_WORDS = {
    400: "does not understand the request (400)",
    404: "has no stream at this path (404)",
    453: "has no bandwidth left for another client (453)",
    461: "does not send its stream over TCP (461)",
    500: "has an error of its own (500)",
    503: "has no stream at the moment (503)",
}
_CHECK_PORT = ": check the port (554 is usual)"
_TONGUES = {
    "TLS": ", but TLS: rtsps:// instead of rtsp://?",
    "HTTP": f", but HTTP{_CHECK_PORT}",
}
_PLAIN = ": rtsp:// instead of rtsps://?"


def knock(url: str, patience_s: float) -> None:
    """Wait until a server answers.

    It is asked again on another connection every half second, while those before may still answer: where packets
    vanish for a while, a connection that was tried meanwhile may be lost for longer than the network itself.

    Args:
        url: of the stream; credentials are not sent.
        patience_s: how long, seconds.

    Raises:
        ReadFailedError: it does not answer, or is not there; with the reason.
    """
    parts = urlsplit(url)
    shown = f"{parts.hostname}:{_port(parts)}"
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ReadFailedError(f"the host name {parts.hostname} is not known") from error
    asked = b"" if _encrypted(parts) else request("OPTIONS", url, 1)
    with selectors.DefaultSelector() as waiting:
        try:
            _Knocking(waiting, found[:_MOST_ADDRESSES], asked).until(time.monotonic() + patience_s)
        except TimeoutError as error:
            raise ReadFailedError(f"{shown} does not answer within {patience_s:g} s") from error
        except OSError as error:
            raise ReadFailedError(f"cannot connect to {shown}: {(error.strerror or str(error)).lower()}") from error
        finally:
            for key in list(waiting.get_map().values()):
                key.data.close()


class _Knocking:
    """Connections that wait for an answer, side by side."""

    def __init__(self, waiting: selectors.BaseSelector, addresses: Sequence[tuple[Any, ...]], asked: bytes) -> None:
        self._waiting = waiting
        self._addresses = addresses
        self._asked = asked
        self._tries = 0
        self._failures = 0
        self._next_s = time.monotonic()

    def until(self, end_s: float) -> None:
        """Return with the first answer; raises OSError once every address has failed, TimeoutError at the end."""
        while (now := time.monotonic()) < end_s:
            if now >= self._next_s:
                self._next_s = now + _EVERY_S
                self._try()
            for key, events in self._waiting.select(max(0.0, min(self._next_s, end_s) - time.monotonic())):
                try:
                    if self._go_on(key.data, events):
                        return
                except BlockingIOError:
                    continue
                except OSError:
                    self._waiting.unregister(key.data)
                    key.data.close()
                    self._failures += 1
                    if self._failures >= len(self._addresses):
                        raise
                    self._next_s = time.monotonic()
        raise TimeoutError

    def _try(self) -> None:
        family, kind, protocol, _, address = self._addresses[self._tries % len(self._addresses)]
        self._tries += 1
        client = socket.socket(family, kind, protocol)
        client.setblocking(False)
        self._waiting.register(client, selectors.EVENT_WRITE, client)
        client.connect_ex(address)  # how that went shows when it can be written to

    def _go_on(self, client: socket.socket, events: int) -> bool:
        """Whether the server has answered."""
        if events & selectors.EVENT_READ:
            if not client.recv(1):
                raise OSError(0, "the connection was closed")
            return True
        failure = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        if not self._asked:
            return True
        client.sendall(self._asked)
        self._waiting.modify(client, selectors.EVENT_READ, client)
        return False


def why_not(url: str, said: ReadFailedError) -> ReadFailedError:
    """Ask a server that is there why it gives FFmpeg no stream.

    Args:
        url: of the stream, with its credentials.
        said: what FFmpeg says; it is all there is to say where the server cannot be asked.
    """
    parts = urlsplit(url)
    shown = f"{parts.hostname}:{_port(parts)}"
    what = f"{shown} answers, but gives no stream that can be read ({said}): check path, user and password"
    vague = ReadFailedError(what, refused=said.refused)
    try:
        return refusal(url) or vague
    except OSError:
        return vague


def refusal(url: str, patience_s: float = _ASK_S) -> ReadFailedError | None:
    """Ask a server for a stream, once, as a client would that is about to play it.

    Args:
        url: of the stream, with its credentials.
        patience_s: how long connecting may take, and each answer, seconds.

    Returns:
        Why it does not give it; None where it does.

    Raises:
        OSError: it is not there, or gives no answer.
    """
    parts = urlsplit(url)
    shown = f"{parts.hostname}:{_port(parts)}"
    try:
        answer = _describe(url, parts, patience_s)
    except _HandshakeError as error:
        return ReadFailedError(f"{shown}: TLS handshake failed{error}")
    if answer.tongue:
        return ReadFailedError(f"{shown} does not speak RTSP{_TONGUES.get(answer.tongue, _CHECK_PORT)}")
    if answer.status in (401, 403):
        has = credentials_of(parts) is not None
        what = f"refuses user or password ({answer.status})" if has else f"wants a user and password ({answer.status})"
        return ReadFailedError(f"{shown} {what}: check path, user and password", refused=True)
    if answer.status == 200:
        return None
    if answer.status == 0:
        raise ConnectionResetError(0, "the connection was closed without an answer")
    return ReadFailedError(f"{shown} {_WORDS.get(answer.status, f'answers with status {answer.status}')}")


class _HandshakeError(Exception):
    """No TLS with this server; says why, as far as that shows."""


def _describe(url: str, parts: SplitResult, patience_s: float) -> Answer:
    """What a server says of a stream, asked for with the credentials where it wants some."""
    wait_s = max(patience_s, LONGEST_S)
    with (
        socket.create_connection((parts.hostname, _port(parts)), patience_s) as plain,
        _secured(plain, parts) if _encrypted(parts) else plain as client,
    ):
        client.sendall(request("DESCRIBE", url, 1))
        answer = read_answer(client, wait_s)
        credentials = credentials_of(parts)
        proof = prove(answer, "DESCRIBE", url, credentials) if credentials else None
        if answer.status == 401 and proof:
            client.sendall(request("DESCRIBE", url, 2, proof))
            answer = read_answer(client, wait_s)
        return answer


def _secured(plain: socket.socket, parts: SplitResult) -> socket.socket:
    """The connection with TLS over it, as FFmpeg makes it: whoever the server is, and however old its TLS.

    Raises:
        _HandshakeError: that cannot be had.
    """
    import ssl  # only failures need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    plain.settimeout(_HANDSHAKE_S)
    try:
        return context.wrap_socket(plain, server_hostname=parts.hostname)
    except ssl.SSLError as error:
        # Whoever sends a proper alert speaks TLS, and means something else by it.
        alert = "ALERT" in (error.reason or "")
        raise _HandshakeError(f" ({(error.reason or '').lower()})" if alert else _PLAIN) from error
    except OSError as error:  # silence, or hung up
        raise _HandshakeError(_PLAIN) from error


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme.lower(), 554)


def _encrypted(parts: SplitResult) -> bool:
    return parts.scheme.lower() == "rtsps"
