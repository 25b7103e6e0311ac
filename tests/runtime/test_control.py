# SPDX-License-Identifier: Apache-2.0
"""A child's side of the control channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edged.errors import DecoderError, InternalError
from edged.runtime.channel import Channel, Note
from edged.runtime.control import Control, StoppedError
from edged.runtime.members import error_from


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Control]]:
    mine, theirs = Channel.pair()
    child = Channel(theirs)
    yield mine, Control(child)
    mine.close()
    child.close()


def test_expected_notes_arrive(ends: tuple[Channel, Control]) -> None:
    supervisor, control = ends
    threading.Timer(0.02, supervisor.send, ["configure", {"slots": 2}]).start()
    assert control.expect("configure").body == {"slots": 2}


def test_a_stop_or_the_end_of_the_supervisor_ends_the_wait(ends: tuple[Channel, Control]) -> None:
    supervisor, control = ends
    supervisor.send("stop")
    with pytest.raises(StoppedError):
        control.expect("configure")
    supervisor.close()
    with pytest.raises(StoppedError):
        control.expect("configure")


def test_a_note_of_another_kind_is_a_bug(ends: tuple[Channel, Control]) -> None:
    ends[0].send("health", {})
    with pytest.raises(InternalError, match="sent health where configure was expected"):
        ends[1].expect("configure")


def test_pause_takes_in_all_that_has_come_and_waits_no_longer_than_asked(ends: tuple[Channel, Control]) -> None:
    supervisor, control = ends
    taken: list[Note] = []
    control.on_note = taken.append
    start = time.monotonic()
    assert not control.pause(0.03)
    assert time.monotonic() - start >= 0.025
    for number in range(5):
        supervisor.send("health", number)
    start = time.monotonic()
    assert not control.pause(30.0)
    assert time.monotonic() - start < 5.0
    assert [note.body for note in taken] == list(range(5))


def test_a_stop_is_remembered_and_ends_the_pause(ends: tuple[Channel, Control]) -> None:
    supervisor, control = ends
    assert not control.should_stop()
    supervisor.send("event")  # nobody asked for notes: ignored
    threading.Timer(0.02, supervisor.send, ["stop"]).start()
    start = time.monotonic()
    while not control.pause(10.0):
        assert time.monotonic() - start < 5.0
    assert control.should_stop()
    assert control.stopped


def test_the_end_of_the_supervisor_is_a_stop(ends: tuple[Channel, Control]) -> None:
    ends[0].close()
    assert ends[1].pause(10.0)
    ends[1].tell("nobody hears this")


def test_errors_arrive_as_they_were(ends: tuple[Channel, Control]) -> None:
    supervisor, control = ends
    control.report(DecoderError("does not fit", where="a.onnx", remedy="choose another"))
    note = supervisor.receive(1.0)
    assert note is not None
    error = error_from(note.body)
    assert type(error) is DecoderError
    assert str(error) == "a.onnx: does not fit; choose another"
