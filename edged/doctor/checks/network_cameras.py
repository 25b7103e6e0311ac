# SPDX-License-Identifier: Apache-2.0
"""Network cameras: asked for their streams as the daemon asks, so that a wrong password or path shows here."""

from __future__ import annotations

import socket
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from edged.doctor.check import Check
from edged.doctor.checks.cameras import of_kind
from edged.doctor.finding import CONFIGURATION, Outcome, ok, problem, skipped
from edged.doctor.situation import Situation
from edged.stages.capture.readers.rtsp_knock import refusal
from edged.stages.capture.uri import SourceUri

_PATIENCE_S = 3.0
"""For a connection, and for each of two answers: a camera may have to wake its encoder first."""
_ALL_S = 10.0
_PORTS = {"rtsp": 554, "rtsps": 322}
_LOGIN = "correct user and password in its uri; before more tries, wait: cameras lock out whoever tries often"
_STREAM = "correct scheme, port and path of its uri; the camera's manual or its web page has the path"
_POWER = "look at the camera's power, cable and address; correct its uri"


class _Silence(NamedTuple):
    """Why a camera gives no stream.

    Attributes:
        why: in a clause.
        remedy: what to do.
    """

    why: str
    remedy: tuple[str, ...]


def _network_cameras(situation: Situation) -> Outcome:
    sources = of_kind(situation, "rtsp")
    if not sources:
        return skipped("no rtsp:// source whose uri is one")
    silent = {name: found for name, found in _ask_all(sources).items() if found is not None}
    if not silent:
        evidence = [f"source {name}: {uri.shown} answers DESCRIBE with 200" for name, uri in sources.items()]
        return ok("1 camera gives its stream" if len(sources) == 1 else f"{len(sources)} give their streams", evidence)
    # A URL in a line of its own: whatever takes credentials out of a line may take more than that out of a sentence.
    evidence = [line for name, found in silent.items() for line in (f"{name}: {sources[name].shown}", found.why)]
    remedy = dict.fromkeys(step for found in silent.values() for step in found.remedy)
    return problem("; ".join(f"{name}: {found.why}" for name, found in silent.items()), evidence, remedy)


def _ask_all(sources: dict[str, SourceUri]) -> dict[str, _Silence | None]:
    """Ask all at once. A name server may hang without a deadline: threads wait, and are left."""
    answers: dict[str, _Silence | None] = {
        name: _Silence(f"no answer within {_ALL_S:g} s", (_POWER,)) for name in sources
    }

    def ask(name: str, uri: SourceUri) -> None:
        answers[name] = _ask(uri)

    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in sources.items()]
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + _ALL_S
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    return dict(answers)


def _ask(uri: SourceUri) -> _Silence | None:
    """Ask one, once: with a wrong password every try counts."""
    parts = urlsplit(uri.target)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 554)
    remedy = (f"ping {host}; nc -vz {host} {port}", _POWER)
    try:
        refused = refusal(uri.target, _PATIENCE_S)
    except (socket.gaierror, UnicodeError):
        return _Silence(f"the host name {host} is not known", (f"getent hosts {host}", "correct the host in its uri"))
    except TimeoutError:
        return _Silence(f"{host}:{port} does not answer within {_PATIENCE_S:g} s", remedy)
    except OSError as error:
        return _Silence(f"cannot talk to {host}:{port}: {(error.strerror or str(error)).lower()}", remedy)
    if refused is None:
        return None
    return _Silence(str(refused), (_LOGIN if refused.refused else _STREAM,))


NETWORK_CAMERAS = Check(
    "network-cameras",
    "rtsp:// sources: each server is asked once for the stream, with its login",
    CONFIGURATION,
    _network_cameras,
    12.0,
)
