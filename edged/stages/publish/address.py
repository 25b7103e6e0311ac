# SPDX-License-Identifier: Apache-2.0
"""Where to publish, in words: reading and judging endpoints. Pure, without zmq."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edged.errors import SettingsError

DEFAULT_ENDPOINT = "ipc:///run/edged/predictions.sock"
BIND = "publish.bind"
"""The key of the settings that errors name."""
_MAX_PATH_BYTES = 107  # sun_path has 108, the last one is NUL
_TCP = re.compile(r"(?P<host>\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to bind to.

    Attributes:
        transport: ``ipc`` or ``tcp``.
        text: the endpoint as ZeroMQ takes it.
        path: the socket's absolute path, for ipc.
        host: address, interface name or ``*``, for tcp; without brackets.
        port: 1 to 65535, for tcp.
    """

    transport: Literal["ipc", "tcp"]
    text: str
    path: Path | None = None
    host: str = ""
    port: int = 0


def parse_endpoint(text: str, *, base: Path | None = None) -> Endpoint:
    """Read an endpoint; touches neither disk nor network.

    Args:
        text: ``ipc:///absolute/path``, ``ipc://relative/path`` or ``tcp://address:port``.
        base: folder where a relative path starts; default: the working directory.

    Raises:
        SettingsError: it is not an endpoint that edged can bind.
    """
    scheme, mark, rest = text.partition("://")
    if mark and scheme == "ipc":
        return _parse_ipc(text, rest, base)
    if mark and scheme == "tcp":
        return _parse_tcp(text, rest)
    raise SettingsError(
        f"{text!r} is not an endpoint", where=BIND, remedy="write ipc:///path/to.sock or tcp://127.0.0.1:PORT"
    )


def _parse_ipc(text: str, rest: str, base: Path | None) -> Endpoint:
    # "@" is Linux's abstract namespace, which has no permissions; "*" would be a random path that nobody can know.
    if not rest or rest[0] in "@*" or rest.endswith("/") or not rest.isprintable():
        raise SettingsError(f"{text!r} does not name a socket file", where=BIND, remedy="write ipc:///path/to.sock")
    path = ((base or Path()) / rest).absolute()
    size = len(os.fsencode(path))
    if size > _MAX_PATH_BYTES:
        raise SettingsError(
            f"the path of {text!r} has {size} bytes, sockets take {_MAX_PATH_BYTES}",
            where=BIND,
            remedy="use a shorter path",
        )
    return Endpoint("ipc", f"ipc://{path}", path=path)


def _parse_tcp(text: str, rest: str) -> Endpoint:
    match = _TCP.fullmatch(rest)
    port = int(match["port"]) if match else 0
    if match is None or not 1 <= port <= 65535:
        raise SettingsError(
            f"{text!r} is not tcp://address:port with a port from 1 to 65535",
            where=BIND,
            remedy="write tcp://127.0.0.1:PORT",
        )
    host = "127.0.0.1" if match["host"] == "localhost" else match["host"]
    bare = host.strip("[]")
    if host != bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise SettingsError(f"{text!r}: {error}", where=BIND, remedy="write tcp://[::1]:PORT") from error
    return Endpoint("tcp", f"tcp://{host}:{port}", host=bare, port=port)


def is_loopback(endpoint: Endpoint) -> bool:
    """Whether only this machine can reach an endpoint; interface and host names count as reachable by others."""
    if endpoint.transport == "ipc":
        return True
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return False
