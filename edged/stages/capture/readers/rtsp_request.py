# SPDX-License-Identifier: Apache-2.0
"""The little of RTSP (RFC 2326) that it takes to ask a server a question, with the proofs of RFC 7617 and RFC 2617."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import time
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

LONGEST_S = 1.5
_MOST_BYTES = 16_384
_TLS_ALERT = b"\x15\x03"
_PREFACE = 512
_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class Answer(NamedTuple):
    """A server's answer.

    Attributes:
        status: 0 where what came was no answer.
        challenges: what it wants to have proved.
        tongue: what it speaks in place of RTSP; empty where nothing came, or RTSP.
    """

    status: int
    challenges: list[str]
    tongue: str = ""


class Credentials(NamedTuple):
    """A user and a password, as they were before they were percent-encoded."""

    user: str
    password: str


def credentials_of(parts: SplitResult) -> Credentials | None:
    """The credentials of a URL; None without."""
    return None if parts.username is None else Credentials(unquote(parts.username), unquote(parts.password or ""))


def request(method: str, url: str, number: int, proof: str = "") -> bytes:
    """A request.

    Args:
        method: ``OPTIONS`` or ``DESCRIBE``.
        url: of the stream; credentials are left out.
        number: of the request on its connection, from 1.
        proof: that we know the password.
    """
    lines = [f"{method} {_bare(url)} RTSP/1.0", f"CSeq: {number}", "User-Agent: edged"]
    if method == "DESCRIBE":
        lines.append("Accept: application/sdp")
    if proof:
        lines.append(f"Authorization: {proof}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_answer(client: socket.socket, longest_s: float = LONGEST_S) -> Answer:
    """Read an answer, with the body, which is thrown away.

    Args:
        client: the connection.
        longest_s: how long it may take, seconds.

    Raises:
        OSError: none came in time.
    """
    end, data = time.monotonic() + longest_s, b""
    while not _whole(data) and len(data) < _MOST_BYTES:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        client.settimeout(left_s)
        portion = client.recv(4096)
        if not portion:
            break
        data += portion
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    found = re.match(r"RTSP/\d\.\d (\d{3})\b", head[0])
    fields = [line.partition(":")[::2] for line in head[1:]]
    challenges = [value.strip() for name, value in fields if name.lower() == "www-authenticate"]
    return Answer(int(found[1]), challenges) if found else Answer(0, [], _tongue(data))


def _tongue(data: bytes) -> str:
    """What those speak whose answer is none, as far as that shows."""
    if data.startswith(_TLS_ALERT):
        return "TLS"
    if data.startswith(b"HTTP/") or b"<html" in data[:_PREFACE].lower():
        return "HTTP"
    return "something else" if data else ""


def prove(answer: Answer, method: str, url: str, credentials: Credentials) -> str | None:
    """The proof that a server wants of us; None where none of those that it takes is known here.

    Args:
        answer: of status 401.
        method: of the request that is made again.
        url: of it.
        credentials: user and password.
    """
    kinds = {challenge.partition(" ")[0].lower(): challenge for challenge in reversed(answer.challenges)}
    fields = {name.lower(): one or two for name, one, two in _FIELD.findall(kinds.get("digest", ""))}
    if "digest" in kinds and fields.get("algorithm", "MD5").upper() == "MD5":
        return _digest(fields, method, _bare(url), credentials)
    if "basic" in kinds:
        return "Basic " + base64.b64encode(":".join(credentials).encode()).decode()
    return None


def _digest(fields: dict[str, str], method: str, uri: str, credentials: Credentials) -> str:
    user, password = credentials
    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    secret, what = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{uri}")
    shown = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    extra = ""
    if "auth" in re.split(r"[\s,]+", fields.get("qop", "")):
        extra = "00000001:edged:auth:"
        shown["cnonce"] = "edged"
    shown["response"] = _md5(f"{secret}:{nonce}:{extra}{what}")
    if "opaque" in fields:
        shown["opaque"] = fields["opaque"]
    tail = ", qop=auth, nc=00000001" if extra else ""
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in shown.items()) + tail


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _bare(url: str) -> str:
    """A URL without its credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length:\s*(\d{1,6})\s*(?:\r\n|$)", head, re.IGNORECASE)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)
