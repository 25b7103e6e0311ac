# SPDX-License-Identifier: Apache-2.0
"""The control channel between the supervisor and a child: small messages with descriptors, over a socket pair.

Settings travel here and nowhere else: no camera URL and no key ever stands in argv or in the environment. The end of
the channel means that the other side is gone.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

_MAX_BYTES = 192 * 1024
_MAX_FDS = 32


class ChannelClosedError(Exception):
    """The other side is gone."""


class Note(NamedTuple):
    """One message.

    Attributes:
        kind: what it is about.
        body: plain JSON values.
        fds: descriptors that came along; the receiver owns them.
    """

    kind: str
    body: Any
    fds: list[int]


class Channel:
    """One end of a control channel."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._room = select.poll()
        self._room.register(sock, select.POLLOUT)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A new channel's own end, and the raw socket to hand to the child."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(mine), theirs

    def fileno(self) -> int:
        """Descriptor that is readable when a message is there or the other side is gone."""
        return self._socket.fileno()

    def send(self, kind: str, body: Any = None, fds: Sequence[int] = (), *, wait_s: float = 0.0) -> bool:
        """Send a message; False when the other side is gone, or has not made room for it within ``wait_s``.

        A body that is too large for the socket (the labels of a large model) travels as a memory file beside it.

        Raises:
            ValueError: more descriptors than a message carries.
        """
        if len(fds) >= _MAX_FDS:
            raise ValueError(f"control message {kind} has {len(fds)} descriptors: too many")
        data = msgspec.json.encode({"kind": kind, "body": body})
        if len(data) <= _MAX_BYTES:
            return self._send(data, fds, wait_s)
        file = os.memfd_create("edged-note", os.MFD_CLOEXEC)
        try:
            with open(file, "wb", closefd=False) as memory:
                memory.write(msgspec.json.encode(body))
            return self._send(msgspec.json.encode({"kind": kind, "body": None, "in_file": True}), [*fds, file], wait_s)
        finally:
            os.close(file)

    def _send(self, data: bytes, fds: Sequence[int], wait_s: float) -> bool:
        end = time.monotonic() + wait_s
        while True:
            try:
                socket.send_fds(self._socket, [data], list(fds))
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._room.poll(left * 1000)
            except (BrokenPipeError, ConnectionResetError):
                return False
            else:
                return True

    def receive(self, timeout_s: float = 0.0) -> Note | None:
        """The next message; None when none came in time.

        Raises:
            ChannelClosedError: the other side is gone.
        """
        if not self._poller.poll(max(0.0, timeout_s) * 1000):
            return None
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _MAX_BYTES + 1024, _MAX_FDS)
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise ChannelClosedError from error
        if not data:
            raise ChannelClosedError
        for fd in fds:
            os.set_inheritable(fd, False)
        content = msgspec.json.decode(data)
        if content.get("in_file"):
            with open(fds.pop(), "rb") as memory:
                memory.seek(0)
                return Note(content["kind"], msgspec.json.decode(memory.read()), fds)
        return Note(content["kind"], content["body"], fds)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
