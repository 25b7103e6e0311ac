# SPDX-License-Identifier: Apache-2.0
"""Events: one entry in the log with the event's kind and source as fields, and one note for subscribers."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from edged.config import SourceSettings
from edged.errors import SourceError
from edged.runtime.channel import Channel
from edged.runtime.herald import Herald
from edged.runtime.launch import Handle
from edged.runtime.logs import JsonFormatter
from edged.runtime.members import Member
from edged.runtime.notify import Notifier
from edged.runtime.setup import SourceSetup
from edged.runtime.sources import Sources
from edged.runtime.web import Web
from edged.stages.capture.uri import parse


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the daemon's logger writes as JSON."""
    stream, logger = io.StringIO(), logging.getLogger("edged")
    handler, level = logging.StreamHandler(stream), logger.level
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


class Process:
    """A child that nobody ends."""

    pid = 1

    def wait(self, _timeout_s: float) -> int | None:
        return None

    def kill(self) -> None:
        pass


def source(name: str) -> SourceSetup:
    uri = "synthetic://shapes"
    return SourceSetup(SourceSettings.model_validate({"name": name, "uri": uri}), parse(uri), True, None)


def test_an_event_is_an_entry_with_fields_and_a_note(log: io.StringIO) -> None:
    ours, end = Channel.pair()
    theirs = Channel(end)
    handle: Handle = Process()
    publish = Member("publish", "socket", running=(handle, ours), ready=True)
    herald = Herald(publish, Notifier(), Web("", "gate", "b"))
    # One that is about a source comes from where sources are looked after, one about all from the monitor.
    Sources([source("south"), source("north")], herald.announce).refuse(1, SourceError("no such camera"))
    herald.announce("governor-lower", "", "warning", "governor: lower the load", {"level": 1, "share": 0.75})
    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    assert all(entry.pop("at") > 1.6e9 for entry in entries)
    texts = ["source north has failed: no such camera", "governor: lower the load"]
    assert entries == [
        {"level": "error", "text": texts[0], "event": "source-failed", "source": "north"},
        {"level": "warning", "text": texts[1], "event": "governor-lower"},
    ]
    notes = [theirs.receive(1.0), theirs.receive(1.0)]
    assert [note.body for note in notes if note is not None] == [
        {"kind": "source-failed", "source": "north", "severity": "error", "text": texts[0], "data": {}},
        {
            "kind": "governor-lower",
            "source": "",
            "severity": "warning",
            "text": texts[1],
            "data": {"level": 1, "share": 0.75},
        },
    ]
    publish.ready = False
    herald.announce("engine-swapped", "", "info", "nobody to tell, but the log has it")
    assert "engine-swapped" in log.getvalue()
    assert theirs.receive(0.0) is None
    ours.close()
    theirs.close()
