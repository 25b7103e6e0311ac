# SPDX-License-Identifier: Apache-2.0
"""A camera of our own in a thread: RTSP up to PLAY, then Motion JPEG over the same connection (RFC 2326, 2435)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track\r\na=framerate:25\r\n"
)


def _rtp_jpeg(level: int, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """Quantization tables and scan of a JPEG, the parts that RFC 2435 sends."""
    image = np.full((*size, 3), level, np.uint8)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420])[
        1
    ].tobytes()
    tables, at = b"", 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDB:
            for table in range(at + 4, at + 2 + length, 65):
                tables += data[table + 1 : table + 65]
        at += 2 + length
    at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return tables, data[at:-2]


def _packets(index: int, sequence: int, size: tuple[int, int]) -> list[bytes]:
    """One frame of a height, width as interleaved RTP packets."""
    tables, scan = _rtp_jpeg(10 * index % 250, size)
    packets: list[bytes] = []
    for offset in range(0, len(scan), 1000):
        part = scan[offset : offset + 1000]
        marker = 0x80 if offset + 1000 >= len(scan) else 0
        header = bytes([0x80, 26 | marker]) + (sequence + len(packets)).to_bytes(2, "big")
        header += (index * 3600).to_bytes(4, "big") + b"\x00\x00\x00\x01"
        header += b"\x00" + offset.to_bytes(3, "big") + bytes([1, 255, size[1] // 8, size[0] // 8])
        if offset == 0:
            header += b"\x00\x00" + len(tables).to_bytes(2, "big") + tables
        packets.append(b"$\x00" + len(header + part).to_bytes(2, "big") + header + part)
    return packets


def _request(requests: BinaryIO) -> dict[str, str]:
    """One request's method and sequence header; empty when the client has gone."""
    found: dict[str, str] = {}
    while (line := requests.readline().decode().strip()) != "":
        if not found:
            found["method"] = line.split()[0]
        elif line.lower().startswith("cseq"):
            found["number"] = line
    return found


class Play(NamedTuple):
    """What a camera sends: how many frames, how far apart (seconds), and from which on they are twice as large.

    Then it hangs up or holds the line.
    """

    frames: int
    hold: bool = False
    status: str = "200 OK"
    gap: float = 0.01
    doubled_from: int | None = None


def _answer(client: socket.socket, stop: threading.Event, play: Play) -> None:
    """Speak RTSP with one client: up to PLAY, then send the frames."""
    requests, method = client.makefile("rb"), ""
    heads = {
        "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n",
        "DESCRIBE": "Content-Type: application/sdp\r\n",
        "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        "PLAY": "Session: 1\r\n",
    }
    while method != "PLAY" and (request := _request(requests)):
        method = request["method"]
        outcome, body = (play.status, SDP) if method == "DESCRIBE" else ("200 OK", "")
        head = f"RTSP/1.0 {outcome}\r\n{request['number']}\r\n{heads.get(method, '')}"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    sequence = 0
    for index in range(play.frames if method == "PLAY" else 0):
        doubled = play.doubled_from is not None and index >= play.doubled_from
        for packet in _packets(index, sequence, (2 * HEIGHT, 2 * WIDTH) if doubled else (HEIGHT, WIDTH)):
            client.sendall(packet)
            sequence += 1
        if stop.wait(play.gap):
            return
    if play.hold:
        stop.wait(20)


@contextmanager
def listening(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server on this machine for as long as the block runs; gives its port."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not stop.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                client.settimeout(10)
                with client:
                    try:
                        serve(client, stop)
                    except OSError:
                        continue  # the client hung up first

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join(timeout=15)
            assert not thread.is_alive()


@contextmanager
def camera(play: Play) -> Iterator[int]:
    with listening(lambda client, stop: _answer(client, stop, play)) as port:
        yield port
