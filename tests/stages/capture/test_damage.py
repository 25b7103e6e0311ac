# SPDX-License-Identifier: Apache-2.0
"""Which frames of a stream are damaged, against what builds on what."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.capture.readers.damage import DamageTrack


class Shown(NamedTuple):
    """A frame in the order of showing: ``I`` builds on none, ``P`` on the last of them, ``B`` on those around it."""

    kind: str
    corrupt: bool


frames = st.lists(
    st.builds(Shown, st.sampled_from("IPPPBBB"), st.integers(0, 9).map(lambda number: number == 0)), max_size=60
)


def marks(shown: list[Shown], *, holds: bool) -> list[bool]:
    """What a track says of each, once all have come; they come in order, each once."""
    track: DamageTrack[int] = DamageTrack(holds=holds)
    told: list[tuple[int, bool]] = []
    for index, frame in enumerate(shown):
        kind = frame.kind
        told += track.take(index, corrupt=frame.corrupt, intra=kind == "I", between=kind == "B")
        if not holds:
            assert len(told) == index + 1
    told += track.rest()
    assert [index for index, _ in told] == list(range(len(shown)))
    return [damaged for _, damaged in told]


def truth(shown: list[Shown]) -> list[bool]:
    """By what each builds on."""
    anchors = [index for index, frame in enumerate(shown) if frame.kind != "B"]
    damaged = [frame.corrupt for frame in shown]
    for before, index in zip([None, *anchors], anchors, strict=False):
        if before is not None and shown[index].kind == "P":
            damaged[index] |= damaged[before]
    for index, frame in enumerate(shown):
        if frame.kind == "B":
            around = [anchor for anchor in anchors if anchor < index][-1:] + [it for it in anchors if it > index][:1]
            damaged[index] |= any(damaged[anchor] for anchor in around)
    return damaged


@settings(deadline=None, max_examples=300)
@given(frames)
def test_all_that_is_damaged_is_marked_and_little_else(shown: list[Shown]) -> None:
    real = truth(shown)
    for index, (marked, is_damaged) in enumerate(zip(marks(shown, holds=True), real, strict=True)):
        assert marked or not is_damaged, index
        # Frames that lie between the same two share a mark: some codecs have them build on one another.
        if marked and not is_damaged:
            begin = max((it for it in range(index) if shown[it].kind != "B"), default=-1) + 1
            end = next((it for it in range(index, len(shown)) if shown[it].kind != "B"), len(shown))
            assert shown[index].kind == "B"
            assert any(real[begin:end])


@settings(deadline=None, max_examples=300)
@given(frames)
def test_where_none_is_held_back_only_what_builds_on_a_later_one_is_missed(shown: list[Shown]) -> None:
    for frame, marked, is_damaged in zip(shown, marks(shown, holds=False), truth(shown), strict=True):
        assert marked == is_damaged or (frame.kind == "B" and is_damaged)


def test_what_follows_a_packet_that_is_none_is_damaged() -> None:
    track: DamageTrack[int] = DamageTrack(holds=True)
    assert track.take(0, corrupt=False, intra=True, between=False) == [(0, False)]
    track.lost()
    assert track.take(1, corrupt=False, intra=False, between=False) == [(1, True)]
    assert track.take(2, corrupt=False, intra=True, between=False) == [(2, False)]


def test_streams_without_intra_pictures_are_not_damaged_for_ever() -> None:
    track: DamageTrack[int] = DamageTrack(holds=False)
    track.lost()
    told = [track.take(index, corrupt=False, intra=False, between=False)[0][1] for index in range(2000)]
    assert told == [True] * 1499 + [False] * 501


def test_not_many_are_held_back_whatever_comes() -> None:
    track: DamageTrack[int] = DamageTrack(holds=True)
    held = 0
    for index in range(1000):
        held += 1 - len(track.take(index, corrupt=False, intra=False, between=True))
        assert held < 16
