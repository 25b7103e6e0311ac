# SPDX-License-Identifier: Apache-2.0
"""Takes credentials out of any text, so that none survives in a log, a topic, a metric or an error.

When in doubt it hides too much. A password may hold any character, ``@ : / # ?`` and spaces included, so there is no
telling where one ends: all between ``scheme://`` and the last ``@`` goes. The price is that a text with a colon after
``scheme://`` and an unrelated ``@`` far behind it loses what is between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

HIDDEN = "***"

# Where a text holds several URLs, the next one begins here; any other "://" is taken for part of a password.
_NEXT_URL = re.compile(
    r"(?:(?<=[\s\"'<>()\[\]{},;=|])|(?<=gst:))"
    r"(?:rtspu?|rtsps|rtmps?|https?|wss?|ftp|file|dir|v4l2|csi|synthetic|tcp|udp|ipc)://",
    re.IGNORECASE,
)
_WORD = re.compile(r"([\"'=<>(\[{,;]*)(\S+)")
# Percent-encoded once or more often: %40, %2540, …
_ENCODED_START = re.compile("%(?:25)*3a%(?:25)*2f%(?:25)*2f", re.IGNORECASE)
_ANY_AT = re.compile("@|%(?:25)*40")
# What may name a camera. Its path is no file's, so that an @ there belongs to credentials.
_NETWORK = re.compile(r"(?:rtspu?|rtsps|rtspt|rtmps?|rtp|srt|https?|wss?|ftp|tcp|udp)://(\S*)", re.IGNORECASE)
_CAMERA = ("rts", "rtm", "rtp", "srt")
_PORT = re.compile(r"\d{0,5}\W*")
_PART = re.compile("[^&;]+")
# Parameters whose values tell nothing. Which others hold a secret only the maker of a camera knows.
_HARMLESS = re.compile(
    r"(?:video)?(?:ch(?:annel|n)?|sub(?:type|stream)?|stream(?:type)?|type|profile|uni|multi|unicast|multicast|proto"
    r"(?:col)?|transport(?:mode)?|res(?:olution)?|codec|fps|frame_?rate|compression|cam(?:era)?|input|track|quality"
    r"|latency|mode|width|height|size)\d*",
    re.IGNORECASE,
)
_HARMLESS_ALONE = re.compile("tcp|udp|http|multicast|unicast", re.IGNORECASE)
_QUOTED_NAME = re.compile(r"[\"']([\w.\-]+)[\"']\s*:\s*")
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
_HEADER = re.compile(r"(?:\bauthorization|\bcookie|-(?:api-?key|auth-?token))\s*:\s*([^\r\n]*)", re.IGNORECASE)

Span = tuple[int, int]


def redact(text: str) -> str:
    """Replace what may be a credential by ``***``.

    Covered: user and password of URLs (also either alone, also in GStreamer pipelines, also without a scheme or
    percent-encoded), what stands where a port should be, parameters and properties whose name speaks of a secret
    (``password=``, ``pwd=``, ``token=``, ``key=``, ``secret=``, ``auth=``, ``user-pw=``, ``user-id=`` and the like),
    all parameters of network addresses but those known to be harmless (``channel=`` and the like), and headers such as
    ``Authorization:``. Unquoted values of parameters end at white space or ``&``.

    Args:
        text: anything: a URL, a log line, a pipeline, several lines.

    Returns:
        The text without them.
    """
    # All rules look at the text as it came: what one of them hides may be what another would have known a secret by.
    rules = (_userinfo, _bare_userinfo, _encoded_userinfo, _network, _parameters, _quoted_names, _headers)
    pieces: list[str] = []
    done = 0
    for begin, end in sorted(span for rule in rules for span in rule(text)):
        if begin > done or not pieces:
            pieces += [text[done:begin], HIDDEN]
        done = max(done, end)
    return "".join(pieces) + text[done:]


def _userinfo(text: str) -> Iterator[Span]:
    """What stands between ``scheme://`` and the last ``@`` that may belong to it."""
    first = text.find("://")
    if first < 0 or "@" not in text:
        return
    begin = first + len("://")
    for following in _NEXT_URL.finditer(text, begin):
        part = text[begin : following.start()]
        if ":" in part and "@" not in part:
            continue  # "rtsp://user:half a rtsp://password@host": no URL ended here
        yield from _head_userinfo(part, begin)
        begin = following.end()
    yield from _head_userinfo(text[begin:], begin)


def _head_userinfo(rest: str, begin: int) -> Iterator[Span]:
    """The credentials at the head of what follows ``scheme://``, which begins at ``begin``."""
    userinfo, at, _ = rest.rpartition("@")
    # rtsp://host/stream … someone@example.org: that @ belongs to something else
    if at and (":" in userinfo or not re.search(r"[/\s]", userinfo)):
        yield begin, begin + len(userinfo)


def _bare_userinfo(text: str) -> Iterator[Span]:
    """The credentials of ``admin:secret@camera``: an address without a scheme, which people forget to write."""
    if "@" not in text:
        return
    for word in _WORD.finditer(text):
        userinfo, at, _ = word[2].partition("://")[0].rpartition("@")
        user, colon, _ = userinfo.partition(":")
        if at and colon and "/" not in user.removeprefix("//"):
            yield word.start(2), word.start(2) + len(userinfo)


def _encoded_userinfo(text: str) -> Iterator[Span]:
    """The credentials of a percent-encoded URL, as it stands where one URL is a parameter of another."""
    start = _ENCODED_START.search(text)
    at = None if start is None else _last(_ANY_AT, text, start.end())
    if start is not None and at is not None:
        yield start.end(), at


def _network(text: str) -> Iterator[Span]:
    """What may be secret in the addresses of cameras and servers, word by word."""
    if "://" not in text:
        return
    for address in _NETWORK.finditer(text):
        begin, end = address.span(1)
        camera = address[0][:3].lower() in _CAMERA
        if camera and "#" in address[1] and ("@" in address[1] or ":" in re.split("[/?#]", address[1], maxsplit=1)[0]):
            # RTSP has no fragments: it is a part of a password, and so may be all that looks like a host.
            yield begin, end
            continue
        question = text.find("?", begin, end)
        at = _last(_ANY_AT, text, begin, end if question < 0 else question)
        if at is not None and (camera or text[at] == "%"):
            yield begin, at
        elif at is None:
            yield from _no_port(text, begin, end)
        if question >= 0:
            yield from _query(text, question + 1, end)


def _no_port(text: str, begin: int, end: int) -> Iterator[Span]:
    """What stands behind the colon of an address where a port should be: a password whose host was forgotten."""
    authority = re.split("[/?#]", text[begin:end], maxsplit=1)[0]
    host, colon, port = authority.partition(":")
    if colon and not authority.startswith("[") and not _PORT.fullmatch(port):
        yield begin + len(host) + 1, begin + len(authority)


def _query(text: str, begin: int, end: int) -> Iterator[Span]:
    """Values of an address's parameters, but for those known to be harmless."""
    for part in _PART.finditer(text, begin, end):
        name, equals, _ = part[0].partition("=")
        if not equals and not _HARMLESS_ALONE.match(name):
            yield part.span()
        elif equals and not _HARMLESS.fullmatch(name):
            yield part.start() + len(name) + 1, part.end()


def _last(pattern: re.Pattern[str], text: str, begin: int, end: int | None = None) -> int | None:
    """Where the last match between two places starts."""
    found = None
    for match in pattern.finditer(text, begin, len(text) if end is None else end):
        found = match.start()
    return found


def _parameters(text: str) -> Iterator[Span]:
    """The values of parameters and properties whose name speaks of a secret."""
    done = 0
    while (assignment := _ASSIGNMENT.search(text, done)) is not None:
        done = assignment.end()
        if _SECRET_NAME.search(assignment[1]):
            done = _value_end(text, assignment)
            yield assignment.end(), done


def _quoted_names(text: str) -> Iterator[Span]:
    """The values of ``"password": "…"``, as JSON and Python write them."""
    for name in _QUOTED_NAME.finditer(text):
        value = _VALUE.match(text, name.end())
        if value is not None and _SECRET_NAME.search(name[1]):
            yield value.span()


def _headers(text: str) -> Iterator[Span]:
    """What follows ``Authorization:``, up to the end of the line."""
    for header in _HEADER.finditer(text):
        yield header.span(1)


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
