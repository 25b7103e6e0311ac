# SPDX-License-Identifier: Apache-2.0
"""Takes credentials out of any text, so that none survives in a log, a topic, a metric or an error.

When in doubt it hides too much. A password may hold any character, ``@ : / # ?`` and spaces included, so there is no
telling where one ends: all between ``scheme://`` and the last ``@`` goes. The price is that a text with a colon after
``scheme://`` and an unrelated ``@`` far behind it loses what is between.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# Where a text holds several URLs, the next one begins here; any other "://" is taken for part of a password.
_NEXT_URL = re.compile(
    r"(?:(?<=[\s\"'<>()\[\]{},;=|])|(?<=gst:))"
    r"(?:rtspu?|rtsps|rtmps?|https?|wss?|ftp|file|dir|v4l2|csi|synthetic|tcp|udp|ipc)://",
    re.IGNORECASE,
)
_WORD = re.compile(r"([\"'=<>(\[{,;]*)(\S+)")
_ENCODED_START = re.compile("%3a%2f%2f", re.IGNORECASE)
_ENCODED_AT = "%40"
# A name begins where no name goes on: tried once per name, not at each of its letters, which keeps long texts cheap.
_ASSIGNMENT = re.compile(r"(?<![\w.\-])([\w.\-]+)\s*=\s*(?:\([\w/]+\)\s*)?")
_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|psw|secret|token|auth|credential|signature|loginpas|(?:user|proxy)-(?:id|pw)"
    r"|(?:api|access|private|stream|session)key|(?:^|[^a-z])(?:pass|pw|key|user|usr|username|login|sig|jwt)\d*$",
    re.IGNORECASE,
)
# Quoted or not; quoted text may go on after its closing quote, when the quote belonged to the secret.
_VALUE = re.compile(r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')?(?:\\.|[^\s&])*", re.DOTALL)
# Behind "user-pw=my secret": the quotes stand around the whole property.
_QUOTED_REST = {quote: re.compile(rf"(?:\\.|[^{quote}\\])*(?={quote})", re.DOTALL) for quote in "\"'"}
_HEADER = re.compile(r"(\bauthorization\s*:\s*)[^\r\n]*", re.IGNORECASE)


def redact(text: str) -> str:
    """Replace what may be a credential by ``***``.

    Covered: user and password of URLs (also either alone, also in GStreamer pipelines, also without a scheme or
    percent-encoded), parameters and properties whose name speaks of a secret (``password=``, ``pwd=``, ``token=``,
    ``key=``, ``secret=``, ``auth=``, ``user-pw=``, ``user-id=`` and the like), and ``Authorization:`` headers.
    Unquoted values of parameters end at white space or ``&``.

    Args:
        text: anything: a URL, a log line, a pipeline, several lines.

    Returns:
        The text without them; redacting it again changes nothing.
    """
    if "@" in text:
        text = _hide_userinfo(text)
        text = _WORD.sub(_hide_bare_userinfo, text)
    text = _hide_encoded_userinfo(text)
    text = _hide_parameters(text)
    return _HEADER.sub(rf"\1{HIDDEN}", text)


def _hide_userinfo(text: str) -> str:
    """Hide all between ``scheme://`` and the last ``@`` that may belong to it."""
    first = text.find("://")
    if first < 0:
        return text
    begin = first + len("://")
    pieces = [text[:begin]]
    for following in _NEXT_URL.finditer(text, begin):
        part = text[begin : following.start()]
        if ":" in part and "@" not in part:
            continue  # "rtsp://user:half a rtsp://password@host": no URL ended here
        pieces += [_without_userinfo(part), following.group()]
        begin = following.end()
    pieces.append(_without_userinfo(text[begin:]))
    return "".join(pieces)


def _without_userinfo(rest: str) -> str:
    """Hide the credentials at the head of what follows ``scheme://``."""
    userinfo, at, tail = rest.rpartition("@")
    if not at:
        return rest
    if ":" not in userinfo and re.search(r"[/\s]", userinfo):
        return rest  # rtsp://host/stream … someone@example.org: the @ belongs to something else
    return f"{HIDDEN}@{tail}"


def _hide_bare_userinfo(word: re.Match[str]) -> str:
    """Hide the credentials of ``admin:secret@camera``: an address without a scheme, which people forget to write."""
    opening, rest = word.groups()
    address, scheme_end, path = rest.partition("://")
    userinfo, at, host = address.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if not (at and colon) or "/" in user:
        return word.group()
    return f"{opening}{HIDDEN}@{host}{scheme_end}{path}"


def _hide_encoded_userinfo(text: str) -> str:
    """Hide the credentials of a percent-encoded URL, as it stands where one URL is a parameter of another."""
    start, at = _ENCODED_START.search(text), text.rfind(_ENCODED_AT)
    if start is None or at < start.end():
        return text
    return f"{text[: start.end()]}{HIDDEN}{text[at:]}"


def _hide_parameters(text: str) -> str:
    """Hide the values of parameters and properties whose name speaks of a secret."""
    pieces, done = [], 0
    while (assignment := _ASSIGNMENT.search(text, done)) is not None:
        end = assignment.end()
        pieces.append(text[done:end])
        if _SECRET_NAME.search(assignment[1]):
            pieces.append(HIDDEN)
            end = _value_end(text, assignment)
        done = end
    pieces.append(text[done:])
    return "".join(pieces)


def _value_end(text: str, assignment: re.Match[str]) -> int:
    """Where the value that follows an assignment ends."""
    begin = assignment.end()
    before = text[assignment.start() - 1] if assignment.start() else ""
    if before in _QUOTED_REST and text[begin : begin + 1] not in _QUOTED_REST:
        rest = _QUOTED_REST[before].match(text, begin)
        if rest is not None:
            return rest.end()
    value = _VALUE.match(text, begin)
    return begin if value is None else value.end()
