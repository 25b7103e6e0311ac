# SPDX-License-Identifier: Apache-2.0
"""Cases: network cameras, played by small servers."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading

from doctor.doctor_rig import SECRET, Cases, Rig

CASES = case = Cases()
LOGIN = f"admin:{SECRET}"


class Server(socketserver.ThreadingTCPServer):
    """A camera with one stream, ``/stream``, and one login; or what else may listen on a port.

    Args:
        answer: what it says to everything, in place of a camera's answers.
    """

    daemon_threads = True

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.heard: list[str] = []
        super().__init__(("127.0.0.1", 0), _Client)

    def reply(self, asked: str) -> bytes:
        """What it says to a request."""
        self.heard.append(asked)
        if self.answer:
            return self.answer
        line, _, rest = asked.partition("\r\n")
        proof = base64.b64encode(LOGIN.encode()).decode()
        if not line.startswith("DESCRIBE "):
            status = "400 Bad Request"
        elif f"Authorization: Basic {proof}\r\n" not in rest:
            status = '401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"'
        else:
            status = "200 OK" if line.split()[1].endswith("/stream") else "404 Not Found"
        return f"RTSP/1.0 {status}\r\nCSeq: 1\r\n\r\n".encode()


class _Client(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        while asked := self.request.recv(4096):
            self.request.sendall(self.server.reply(asked.decode("latin-1")))


def listen(rig: Rig, answer: bytes = b"") -> Server:
    """Have a server until the end of the test."""
    server = rig.stack.enter_context(Server(answer))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    rig.stack.callback(thread.join)
    rig.stack.callback(server.shutdown)
    return server


def watch(rig: Rig, login: str = LOGIN, path: str = "stream", scheme: str = "rtsp", answer: bytes = b"") -> Server:
    """Settings with a camera that is there."""
    server = listen(rig, answer)
    at = f"{login}@" if login else ""
    rig.settings(f"{scheme}://{at}127.0.0.1:{server.server_address[1]}/{path}")
    return server


@case("network-cameras", "problem", "cannot talk to 127.0.0.1", "nc -vz 127.0.0.1")
def camera_that_is_off(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    rig.settings(f"rtsp://{LOGIN}@127.0.0.1:{port}/stream")


@case(
    "network-cameras", "problem", "the host name no-such-host.invalid is not known", "getent hosts no-such-host.invalid"
)
def camera_without_a_name(rig: Rig) -> None:
    rig.settings(f"rtsp://{LOGIN}@no-such-host.invalid/stream")


@case("network-cameras", "problem", "refuses user or password (401)", "correct user and password")
def wrong_password(rig: Rig) -> None:
    watch(rig, "admin:other")


@case("network-cameras", "problem", "wants a user and password (401)", "correct user and password")
def no_password(rig: Rig) -> None:
    watch(rig, "")


@case("network-cameras", "problem", "has no stream at this path (404)", "correct scheme, port and path")
def wrong_path(rig: Rig) -> None:
    watch(rig, path="elsewhere")


@case("network-cameras", "problem", "TLS handshake failed", "correct scheme, port and path")
def encryption_where_there_is_none(rig: Rig) -> None:
    watch(rig, scheme="rtsps")


@case("network-cameras", "problem", "does not speak RTSP", "correct scheme, port and path")
def page_of_a_camera(rig: Rig) -> None:
    watch(rig, answer=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@case("network-cameras", "skipped", "whose uri is one")
def camera_with_a_wrong_uri(rig: Rig) -> None:
    rig.settings(f"rtsp://user:p@ss/{SECRET}@host/x")


@case("network-cameras", "ok", "1 camera gives its stream")
def camera_that_streams(rig: Rig) -> None:
    watch(rig)
