# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.publish.sequences import GapTracker, LocalSequences


def test_local_sequences_start_at_one_and_are_per_topic() -> None:
    sequences = LocalSequences()
    assert [sequences.next("a"), sequences.next("a"), sequences.next("b")] == [1, 2, 1]
    last = sequences.last()
    assert last == {"a": 2, "b": 1}
    last["a"] = 9
    assert sequences.next("a") == 3


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 1000))
@settings(deadline=None, max_examples=100)
def test_lost_plus_received_is_everything_sent_since_the_first(arrives: list[bool], first: int) -> None:
    tracker = GapTracker()
    seen = [first + index for index, arrived in enumerate(arrives) if arrived]
    losses = [tracker.observe("d", "b", "t", seq) for seq in seen]
    tracker.observe_last("d", {"t": first + len(arrives) - 1, "other": 7})
    missed = arrives[arrives.index(True) :].count(False) if seen else 0
    assert tracker.lost.get("t", 0) == missed
    assert sum(losses) <= missed
    assert "other" not in tracker.lost


def test_a_new_boot_is_a_restart_not_a_gap() -> None:
    tracker = GapTracker()
    for boot, seq in (("x", 5), ("x", 6), ("y", 3), ("y", 4)):
        assert tracker.observe("d", boot, "t", seq) == 0
    assert tracker.observe("d", "y", "u", 9) == 0
    assert tracker.restarts == 1
    assert tracker.lost == {}


def test_the_tail_counts_once() -> None:
    tracker = GapTracker()
    tracker.observe("d", "b", "t", 1)
    assert tracker.observe_last("d", {"t": 4}) == {"t": 3}
    assert tracker.observe_last("d", {"t": 4}) == {}
    assert tracker.observe("d", "b", "t", 5) == 0
    assert tracker.lost == {"t": 3}


def test_repeated_and_late_messages_are_no_loss() -> None:
    tracker = GapTracker()
    assert [tracker.observe("d", "b", "t", seq) for seq in (3, 3, 2, 4)] == [0, 0, 0, 0]


def test_two_devices_with_the_same_topic_are_told_apart() -> None:
    tracker = GapTracker()
    for seq in range(1, 5):
        assert tracker.observe("one", "b1", "t", seq) == 0
        assert tracker.observe("two", "b2", "t", seq * 2) == (1 if seq > 1 else 0)
    assert tracker.restarts == 0
    assert tracker.lost == {"t": 3}


def test_memory_is_bounded_whatever_arrives() -> None:
    tracker = GapTracker()
    for index in range(10_000):
        tracker.observe(f"device{index % 600}", "b", f"t{index}", 1)
        tracker.observe(f"device{index % 600}", "b", f"t{index}", 3)
    assert len(tracker.lost) <= 4096
    assert len(tracker._last) <= 4096
    assert len(tracker._boots) <= 256
