# SPDX-License-Identifier: Apache-2.0
"""How a frame is looked at, as two words of shared memory."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import WHOLE, View
from edged.shm.frame_layout import pack_look, unpack_look

coordinates = st.integers(0, 2**30 - 2)


@settings(deadline=None, max_examples=200)
@given(
    turns=st.integers(0, 3),
    region=st.none() | st.tuples(coordinates, coordinates, coordinates, coordinates),
    damaged=st.booleans(),
)
def test_a_look_comes_back_from_its_words(turns: int, region: tuple[int, int, int, int] | None, damaged: bool) -> None:
    if region is not None:
        x1, y1, x2, y2 = region
        region = min(x1, x2), min(y1, y2), max(x1, x2) + 1, max(y1, y2) + 1
    words = pack_look(View(turns, region), damaged)
    assert unpack_look(*struct.unpack("2q", struct.pack("2q", *words))) == (View(turns, region), damaged)


def test_the_whole_picture_is_what_fresh_memory_says() -> None:
    assert pack_look(WHOLE, False) == (0, 0)
    assert unpack_look(0, 0) == (WHOLE, False)
    assert unpack_look(0, 0)[0] is unpack_look(*pack_look(WHOLE, True))[0] is WHOLE
