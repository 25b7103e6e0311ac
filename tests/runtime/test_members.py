# SPDX-License-Identifier: Apache-2.0
"""What the supervisor keeps of each child."""

from __future__ import annotations

import os

import pytest

from edged.errors import BY_NAME, DeviceUnavailableError, InternalError, ModelError
from edged.runtime.channel import Channel
from edged.runtime.launch import ThreadLauncher
from edged.runtime.members import Member, SourceStatus, describe_exit, error_from, given_up


def test_labels() -> None:
    assert Member("capture", "north", 0).label == "capture:north"
    assert Member("infer", "model").label == "infer"


def test_telling_a_child_that_is_down_says_so() -> None:
    member = Member("infer", "model")
    assert not member.tell("stop")
    handle, channel = ThreadLauncher(lambda role, name, sock: sock.close()).start("infer", "model")
    member.running = (handle, channel)
    assert handle.wait(5) == 0
    assert not member.tell("stop")
    channel.close()


def test_telling_a_child_that_listens() -> None:
    mine, theirs = Channel.pair()
    handle, unused = ThreadLauncher(lambda role, name, sock: sock.close()).start("infer", "model")
    member = Member("infer", "model", running=(handle, mine))
    read, write = os.pipe()
    assert member.tell("source", {"name": "a"}, (read,), wait_s=1.0)
    other = Channel(theirs)
    note = other.receive()
    assert note is not None
    assert (note.kind, note.body, len(note.fds)) == ("source", {"name": "a"}, 1)
    for fd in (read, write, *note.fds):
        os.close(fd)
    for channel in (mine, other, unused):
        channel.close()


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_reported_errors_keep_their_kind(name: str) -> None:
    error = error_from({"name": name, "what": "w", "where": "x", "remedy": "y"})
    assert type(error) is BY_NAME[name]
    assert str(error) == "x: w; y"


def test_an_error_of_unknown_kind_is_internal() -> None:
    assert type(error_from({"name": "ZeroDivisionError", "what": "w", "where": "", "remedy": ""})) is InternalError


def test_ends_in_words() -> None:
    assert [describe_exit(status) for status in (None, -9, 0, 3)] == [
        "hung",
        "was killed by signal 9",
        "ended with status 0",
        "ended with status 3",
    ]


def test_which_sources_are_over() -> None:
    states = {state: SourceStatus(state).over for state in ("opening", "live", "stalled", "backoff", "ended", "failed")}
    assert [state for state, over in states.items() if over] == ["ended", "failed"]


def test_a_lost_gpu_has_the_service_manager_try_again_and_other_errors_stay_what_they_are() -> None:
    member = Member("infer", "model")
    assert given_up(member, "was killed by signal 11", 5).exit_code == 70
    assert "for the 5th time" in str(given_up(member, "was killed by signal 11", 5))
    # What a new process says where the GPU has fallen off the bus.
    member.error = DeviceUnavailableError("no CUDA device", where="GPU 0", remedy="see dmesg")
    lost = given_up(member, "ended with status 0", 5)
    assert (lost.exit_code, str(lost)) == (75, "GPU 0: the GPU is lost: no CUDA device; see dmesg")
    member.error = ModelError("broken", where="x.onnx")
    assert given_up(member, "ended with status 0", 5) is member.error
