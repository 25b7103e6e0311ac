# SPDX-License-Identifier: Apache-2.0
"""How a frame is looked at, as two words of shared memory."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import WHOLE, View
from edged.shm.frame_layout import pack_view, unpack_view

coordinates = st.integers(0, 2**30 - 2)


@settings(deadline=None, max_examples=200)
@given(turns=st.integers(0, 3), x1=coordinates, y1=coordinates, x2=coordinates, y2=coordinates, whole=st.booleans())
def test_a_view_comes_back_from_its_words(turns: int, x1: int, y1: int, x2: int, y2: int, whole: bool) -> None:
    region = None if whole else (min(x1, x2), min(y1, y2), max(x1, x2) + 1, max(y1, y2) + 1)
    words = pack_view(View(turns, region))
    assert unpack_view(*struct.unpack("2q", struct.pack("2q", *words))) == View(turns, region)


def test_the_whole_picture_is_what_fresh_memory_says() -> None:
    assert pack_view(WHOLE) == (0, 0)
    assert unpack_view(0, 0) is WHOLE
