# SPDX-License-Identifier: Apache-2.0
"""The control channel: whole messages in order, descriptors, and what happens when a side is slow or gone."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.runtime.channel import Channel, ChannelClosedError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    mine, theirs = Channel.pair()
    other = Channel(theirs)
    yield mine, other
    mine.close()
    other.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), JSON), max_size=6))
def test_messages_arrive_whole_and_in_order(messages: list[tuple[str, object]]) -> None:
    mine, theirs = Channel.pair()
    other = Channel(theirs)
    assert all(mine.send(kind, body) for kind, body in messages)
    received = [other.receive() for _ in messages]
    assert [(note.kind, note.body) for note in received if note] == messages
    assert other.receive() is None
    mine.close()
    other.close()


@pytest.mark.parametrize("size", [190 * 1024, 5 * 1024 * 1024])
def test_a_message_of_any_size_arrives_with_its_descriptors(ends: tuple[Channel, Channel], size: int) -> None:
    """The labels of a model with twenty thousand classes are larger than a socket takes at once."""
    text = "x" * size
    read, write = os.pipe()
    assert ends[0].send("plan", text, (write,))
    os.close(write)
    note = ends[1].receive()
    assert note is not None
    assert note.body == text
    assert len(note.fds) == 1
    os.write(note.fds[0], b"same pipe")
    assert os.read(read, 100) == b"same pipe"
    os.close(note.fds[0])
    os.close(read)


def test_more_descriptors_than_a_message_carries_are_refused(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ValueError, match="control message plan has 40 descriptors"):
        ends[0].send("plan", None, [0] * 40)


def test_descriptors_travel_and_belong_to_the_receiver(ends: tuple[Channel, Channel]) -> None:
    read, write = os.pipe()
    assert ends[0].send("ring", {"slots": 3}, [read])
    os.close(read)
    note = ends[1].receive()
    assert note is not None
    (fd,) = note.fds
    assert not os.get_inheritable(fd)
    os.write(write, b"hello")
    assert os.read(fd, 5) == b"hello"
    for each in (fd, write):
        os.close(each)


def test_a_side_that_does_not_listen_makes_no_one_wait(ends: tuple[Channel, Channel]) -> None:
    sent = 0
    while ends[0].send("health", "x" * 1000):
        sent += 1
    assert sent > 10
    start = time.monotonic()
    assert not ends[0].send("health", "x" * 1000, wait_s=0.05)
    assert 0.04 <= time.monotonic() - start < 5.0
    # What was accepted is all there.
    for _ in range(sent):
        assert ends[1].receive() is not None
    assert ends[1].receive() is None


def test_sending_waits_for_room_within_its_deadline(ends: tuple[Channel, Channel]) -> None:
    while ends[0].send("health", "x" * 1000):
        pass

    def take_all() -> None:
        while ends[1].receive() is not None:
            pass

    timer = threading.Timer(0.05, take_all)
    timer.start()
    start = time.monotonic()
    assert ends[0].send("late", wait_s=10.0)
    assert time.monotonic() - start < 5.0
    timer.join(5)


def test_receiving_waits_for_a_message_within_its_deadline(ends: tuple[Channel, Channel]) -> None:
    start = time.monotonic()
    assert ends[1].receive(0.05) is None
    assert 0.04 <= time.monotonic() - start < 5.0
    timer = threading.Timer(0.02, ends[0].send, ["hello"])
    timer.start()
    note = ends[1].receive(5.0)
    assert note is not None
    assert note == ("hello", None, [])
    timer.join(5)


def test_what_was_sent_before_the_end_still_arrives(ends: tuple[Channel, Channel]) -> None:
    ends[0].send("error", "why")
    ends[0].close()
    assert select.select([ends[1]], [], [], 0)[0]
    note = ends[1].receive()
    assert note is not None
    assert note.body == "why"
    with pytest.raises(ChannelClosedError):
        ends[1].receive()
    assert not ends[1].send("hello")
    assert not ends[1].send("hello", wait_s=1.0)


def test_an_end_with_unread_messages_is_an_end_as_well(ends: tuple[Channel, Channel]) -> None:
    ends[0].send("unread")
    ends[1].send("unread too")
    ends[1].close()
    with pytest.raises(ChannelClosedError):  # noqa: PT012 - reset or end of file, depending on who looks first
        for _ in range(3):
            ends[0].receive()
