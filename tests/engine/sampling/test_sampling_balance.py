# SPDX-License-Identifier: Apache-2.0
"""Which frames are kept of a stream: every time and every light has its share, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.sampling.balance import Balance


def _run(frames: Iterable[tuple[float, float]], capacity: int, width: float = 1.0, seed: int = 0) -> list[int]:
    """Numbers of the frames that are left, as told by the verdicts."""
    balance = Balance(capacity, width, seed)
    kept: list[int] = []
    for number, (time, brightness) in enumerate(frames):
        verdict = balance.offer(number, time, brightness)
        if verdict is not None:
            if verdict.instead_of is not None:
                kept.remove(int(str(verdict.instead_of)))
            kept.append(number)
        assert len(kept) == len(balance) <= capacity
    return kept


def test_every_part_of_a_stream_of_unknown_length_has_its_share() -> None:
    for length in (700, 5_000):
        kept = _run(((n, 100.0) for n in range(length)), 200)
        shares = Counter(n * 8 // length for n in kept)
        assert len(kept) == 200
        assert all(15 <= shares[part] <= 35 for part in range(8)), shares


def test_a_known_length_gives_equal_parts() -> None:
    kept = _run(((n / 10, 100.0) for n in range(6_000)), 128, width=600 / 32)
    shares = Counter(int(n / 10 / (600 / 32)) for n in kept)
    assert set(shares.values()) <= {3, 4, 5}


def test_a_rare_light_is_not_drowned() -> None:
    """Headlights for 30 frames of 6,000: nearly all of them are kept, of the others one in 30."""
    kept = _run(((n, 240.0 if 3_000 <= n < 3_030 else 60.0) for n in range(6_000)), 200)
    bright = sum(3_000 <= n < 3_030 for n in kept)
    assert bright >= 5
    assert len(kept) - bright >= 150


def test_within_a_part_the_choice_is_fair() -> None:
    """Neither the first nor the last of many equal frames is preferred."""
    halves: Counter[bool] = Counter()
    for seed in range(40):
        halves.update(n < 500 for n in _run([(0.0, 100.0)] * 1_000, 20, seed=seed))
    assert 0.4 < halves[True] / halves.total() < 0.6


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 255)), max_size=120),
    st.integers(1, 20),
    st.floats(0.01, 100),
    st.integers(0, 3),
)
def test_is_bounded_and_repeatable(steps: list[tuple[float, float]], capacity: int, width: float, seed: int) -> None:
    time, frames = 0.0, []
    for step, brightness in steps:
        time += step
        frames.append((time, brightness))
    kept = _run(frames, capacity, width, seed)
    assert kept == _run(frames, capacity, width, seed)
    assert len(kept) == min(capacity, len(frames))


def test_goes_on_with_what_was_kept() -> None:
    balance = Balance(10, 1.0)
    for number in range(10):
        balance.restore(f"old {number}", float(number), 100.0)
    verdict = balance.offer("new", 10.0, 100.0)
    assert verdict is not None
    assert str(verdict.instead_of).startswith("old")
    assert verdict.why in ("rare", "lot")
