# SPDX-License-Identifier: Apache-2.0
"""What is said of frames that could not be decoded: enough to find them, never more than people read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.capture.losses import Losses
from edged.stages.capture.readers.base import DecodeError


class Told:
    """Losses, what they told, and a clock that is turned by hand."""

    def __init__(self, *, live: bool) -> None:
        self.now = 1000.0
        self.texts: list[str] = []
        self.firsts: set[str] = set()
        self.losses = Losses(self._take, live=live, clock=lambda: self.now)

    def _take(self, text: str, first: str) -> None:
        self.texts.append(text)
        self.firsts.add(first)

    def image(self, *names: str) -> None:
        for name in names:
            self.losses.lost(0, DecodeError("is not an image", file=name))

    def frame(self, *numbers: int) -> None:
        for number in numbers:
            self.losses.lost(number, DecodeError("FFmpeg says: no"))


def test_the_first_images_are_named_and_the_others_counted() -> None:
    told = Told(live=False)
    told.image(*(f"{number}.jpg" for number in range(9)))
    assert told.texts == [f"{number}.jpg could not be decoded: is not an image" for number in range(5)]
    told.losses.end()
    assert told.texts[5:] == ["and 4 more images could not be decoded"]
    assert told.firsts == {"0.jpg"}


def test_a_single_one_more_is_named_too() -> None:
    told = Told(live=False)
    told.image("a", "b", "c", "d", "e", "f")
    told.losses.end()
    assert told.texts[-1] == "f could not be decoded: is not an image"


def test_images_of_a_loop_are_news_once() -> None:
    told = Told(live=False)
    for _ in range(3):
        told.image(*"abcdefgh")
        told.losses.lap()
    assert len(told.texts) == 6
    told.image("new")
    told.losses.lap()
    assert told.texts[6:] == ["new could not be decoded: is not an image"]


def test_of_a_live_folder_a_note_every_ten_seconds() -> None:
    told = Told(live=True)
    for number in range(250):
        told.image(f"{number}.jpg")
        told.now += 0.125
        told.losses.look()
    assert told.texts == [
        "0.jpg could not be decoded: is not an image",
        "1.jpg could not be decoded: is not an image (and 78 more)",
        "80.jpg could not be decoded: is not an image (and 79 more)",
        "160.jpg could not be decoded: is not an image (and 79 more)",
    ]


def test_frames_of_a_stream_are_counted_once_a_minute() -> None:
    told = Told(live=True)
    told.frame(7, 8)
    assert told.texts == []  # damage seldom comes alone
    told.now += 1.0
    told.losses.look()
    assert told.texts == ["2 frames could not be decoded, frame 7 first: FFmpeg says: no"]
    for number in range(1200):
        told.now += 0.125
        told.frame(100 + number)
    assert len(told.texts) == 3
    told.losses.end()
    assert told.texts[1].startswith("480 frames could not be decoded, frame 100 first")
    assert told.firsts == {"frame 7"}


def test_the_damage_of_a_short_film_is_told_at_its_end() -> None:
    told = Told(live=False)
    told.frame(12)
    told.losses.lap()
    assert told.texts == []
    told.losses.end()
    told.losses.end()
    assert told.texts == ["frame 12 could not be decoded: FFmpeg says: no"]


def test_no_name_breaks_a_line() -> None:
    told = Told(live=False)
    told.image("a\nERROR all is lost\x1b[31m.jpg", "x" * 500)
    assert all(text.isprintable() and len(text) < 200 for text in told.texts)


@settings(max_examples=60, deadline=None)
@given(
    live=st.booleans(),
    named=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 20.0), st.booleans()), max_size=60),
)
def test_it_is_never_a_flood_and_nothing_is_forgotten(
    live: bool, named: bool, steps: list[tuple[int, float, bool]]
) -> None:
    told = Told(live=live)
    lost = 0
    for count, seconds, lap in steps:
        for _ in range(count):
            told.losses.lost(lost, DecodeError("no", file=f"{lost}.jpg" if named else ""))
            lost += 1
        told.now += seconds
        told.losses.look()
        if lap:
            told.losses.lap()
    laps = sum(lap for *_, lap in steps)
    every_s = 10.0 if named else 60.0
    bound = 5 + laps if named and not live else 1 + (told.now - 1000.0) / every_s
    assert len(told.texts) <= bound
    told.losses.end()
    assert bool(told.texts) == bool(lost)
    assert told.firsts == ({"0.jpg" if named else "frame 0"} if lost else set())


def test_damaged_frames_are_told_together_and_once_a_minute() -> None:
    told = Told(live=True)
    for number in range(40, 48):
        told.losses.damaged(number)
    assert told.texts == []
    told.now += 1.0
    told.losses.look()
    first = "8 frames are damaged, from frame 40 on: parts were lost before they came; their predictions say so"
    assert told.texts == [first]
    told.losses.damaged(100)
    told.now += 58.0
    told.losses.look()
    assert told.texts == [first]
    told.now += 2.0
    told.losses.look()
    single = "one frame is damaged, from frame 100 on: parts were lost before they came; its prediction says so"
    assert told.texts == [first, single]
    # What has not been told is told in the end, and nobody is blamed for what could not be decoded.
    told.losses.damaged(200)
    told.losses.end()
    assert len(told.texts) == 3
    assert told.firsts == {""}
