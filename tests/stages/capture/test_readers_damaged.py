# SPDX-License-Identifier: Apache-2.0
"""Films of which parts are lost: what the decoder mended, what builds on it, and what comes behind it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.damaged_film import DAMAGED, FRAMES, make_damaged_film, nothing_left

from edged.stages.capture.readers.base import DecodeError
from edged.stages.capture.readers.video import VideoReader


def marks_of(reader: VideoReader, most: int) -> list[bool | None]:
    """Whether each of the first frames is damaged; None for those that are no picture."""
    found: list[bool | None] = []
    while len(found) < most:
        try:
            picture = reader.read()
        except DecodeError:
            found.append(None)
            continue
        if picture is None:
            break
        found.append(picture.damaged)
    reader.close()
    return found


@pytest.mark.parametrize("live", [True, False])
def test_frames_that_the_decoder_had_to_mend_say_so_and_those_that_build_on_them(tmp_path: Path, live: bool) -> None:
    whole = VideoReader(str(make_damaged_film(tmp_path / "whole.mkv", hit=())), live=live)
    holed = VideoReader(str(make_damaged_film(tmp_path / "holed.mkv")), live=live)
    marked, differ = [], []
    for index in range(FRAMES):
        one, other = whole.read(), holed.read()
        assert one is not None
        assert other is not None
        assert not one.damaged
        if other.damaged:
            marked.append(index)
        if (one.image != other.image).any():
            differ.append(index)
    assert marked == differ == DAMAGED
    assert whole.read() is None
    whole.close()
    # Its second time begins with nothing to build on.
    holed.rewind()
    first = holed.read()
    assert first is not None
    assert not first.damaged
    holed.close()


@pytest.mark.parametrize(
    ("codec", "options"), [("mpeg2video", {"bf": "2"}), ("libx264", {"bf": "2", "b-pyramid": "none"})]
)
def test_frames_that_build_on_a_later_one_say_so_too(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    """They are shown before it, and decoded after it."""
    films = [
        make_damaged_film(tmp_path / f"{len(hit)}.mkv", hit=hit, codec=codec, options=options)
        for hit in ((), tuple(range(20, 30)))
    ]
    whole, holed = (VideoReader(str(film)) for film in films)
    marked, differ = set(), set()
    for index in range(FRAMES):
        one, other = whole.read(), holed.read()
        assert one is not None
        if other is None:
            break  # FFmpeg left some out
        marked |= {index} if other.damaged else set()
        differ |= {index} if (one.image != other.image).any() else set()
    assert len(differ) >= 8
    assert differ <= marked
    assert len(marked) <= len(differ) + 2
    whole.close()
    holed.close()


@pytest.mark.parametrize("live", [True, False])
def test_what_comes_after_damage_in_a_row_is_read(tmp_path: Path, live: bool) -> None:
    """VP9's decoder would take nothing more, up to the end of the film."""
    options = {"deadline": "realtime", "lag-in-frames": "0"}
    film = make_damaged_film(
        tmp_path / "film.mkv", hit=(12, 13, 14), codec="libvpx-vp9", options=options, spoil=nothing_left
    )
    found = marks_of(VideoReader(str(film), live=live), 2 * FRAMES)
    # With two decoder threads a failure is heard of a frame or two sooner, and may cost one that was under way.
    assert found[:9].count(None) == 0
    assert 1 <= found.count(None) <= 6
    assert found[-38:].count(None) == 0
    assert len(found) >= FRAMES - 8


def test_what_builds_on_a_frame_that_is_no_picture_is_damaged(tmp_path: Path) -> None:
    data = make_damaged_film(tmp_path / "film.avi", hit=()).read_bytes()
    # The first is in the header, not a packet's. Nothing is left of the one after the twelfth frame's.
    at = [index for index in range(len(data)) if data.startswith(b"00dc", index)][13]
    (size,) = struct.unpack_from("<I", data, at + 4)
    (tmp_path / "film.avi").write_bytes(data[: at + 8] + bytes(size) + data[at + 8 + size :])
    found = marks_of(VideoReader(str(tmp_path / "film.avi"), live=True), 22)
    assert found == [False] * 12 + [None] + [True] * 7 + [False] * 2
