# SPDX-License-Identifier: Apache-2.0
"""What the log says at the end is true."""

from __future__ import annotations

from edged.runtime.tally import conclusion, tally
from edged.shm.frame_table import Counts

GOOD = Counts(18, 18, 0, 0, 0, 0, 0)
TORN = Counts(22, 18, 0, 0, 4, 0, 0)


def test_a_source_s_frames() -> None:
    assert tally(GOOD) == "18 frames published"
    assert tally(TORN, "i_text.jpg") == "18 frames published, 4 could not be decoded (first: i_text.jpg)"
    assert tally(Counts(20, 1, 2, 3, 4, 5, 4)) == (
        "1 frame published, 4 could not be decoded, 3 too old to be published, 2 overwritten by newer ones, "
        "5 lost with a process that died, 4 lost to the shutdown, 1 still on the way"
    )


def test_everything_is_published_only_where_it_is() -> None:
    assert conclusion(["ended", "ended"], [GOOD, GOOD]) == "all sources have ended and everything is published"
    torn = "all sources have ended: 36 frames published, 4 could not be decoded"
    assert conclusion(["ended", "ended"], [GOOD, TORN]) == torn
    failed = "no source is left, 1 of 2 has failed: 18 frames published"
    assert conclusion(["ended", "failed"], [GOOD, Counts(0, 0, 0, 0, 0, 0, 0)]) == failed
