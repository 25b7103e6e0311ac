# SPDX-License-Identifier: Apache-2.0
"""The batching policy: when a batch closes, who is in it, who is dropped, and that nobody starves."""

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import Ready
from edged.stages.collate.policy import STARVING_NS, Collator, Decision, Pick, SourcePolicy

MS = 1_000_000


def ready(frame_id: int, ready_ns: int, *, captured_ns: int | None = None, shape: tuple[int, int] = (8, 8)) -> Ready:
    return Ready(frame_id % 4, frame_id, ready_ns if captured_ns is None else captured_ns, ready_ns, *shape)


def costs(per_frame_ns: int) -> Callable[[int], int]:
    return lambda count: count * per_frame_ns


def test_a_full_batch_closes_at_once() -> None:
    collator = Collator([SourcePolicy(), SourcePolicy()], max_batch=2, max_delay_ns=100 * MS)
    decision = collator.decide(MS, {0: [ready(0, MS)], 1: [ready(0, MS)]}, costs(0))
    assert {pick.source for pick in decision.batch} == {0, 1}


def test_a_batch_waits_for_a_source_that_is_delivering_but_not_beyond_its_deadline() -> None:
    collator = Collator([SourcePolicy(), SourcePolicy()], max_batch=4, max_delay_ns=4 * MS)
    for tick in range(3):  # both deliver every 10 ms
        now = 10 * MS * tick
        assert collator.decide(now, {0: [ready(tick, now)], 1: [ready(tick, now)]}, costs(0)).batch
    now = 30 * MS
    waiting = {0: [ready(3, now)]}
    early = collator.decide(now, waiting, costs(0))
    assert early.batch == []
    assert early.wake_ns == 34 * MS
    late = collator.decide(34 * MS, waiting, costs(0))
    assert late.batch == [Pick(0, waiting[0][0])]


def test_nobody_waits_for_a_quiet_or_ended_source() -> None:
    collator = Collator([SourcePolicy(), SourcePolicy()], max_batch=4, max_delay_ns=4 * MS)
    for tick in range(3):
        now = 10 * MS * tick
        collator.decide(now, {0: [ready(tick, now)], 1: [ready(tick, now)]}, costs(0))
    now = 30 * MS
    assert collator.decide(now, {0: [ready(3, now)]}, costs(0), frozenset({1})).batch
    now = 60 * MS  # source 1 has been silent for four of its intervals
    assert collator.decide(now, {0: [ready(4, now)]}, costs(0)).batch


def test_too_old_frames_are_dropped_before_they_cost_anything() -> None:
    collator = Collator([SourcePolicy(max_age_ns=100 * MS), SourcePolicy()], max_batch=2, max_delay_ns=0)
    old = ready(0, 0, captured_ns=0)
    decision = collator.decide(85 * MS, {0: [old], 1: [old]}, costs(10 * MS))
    assert decision.stale == [Pick(0, old)]  # 85 + 2 x 10 ms is beyond 100 ms
    assert decision.batch == [Pick(1, old)]  # lossless frames have no age limit


def test_only_frames_of_one_shape_share_a_batch() -> None:
    collator = Collator([SourcePolicy(), SourcePolicy()], max_batch=4, max_delay_ns=0)
    waiting = {0: [ready(0, 0, shape=(8, 8))], 1: [ready(0, 0, shape=(8, 16))]}
    first = collator.decide(MS, waiting, costs(0)).batch
    assert len(first) == 1
    other = 1 - first[0].source
    second = collator.decide(2 * MS, waiting, costs(0)).batch
    assert second[0].source == other


def test_priority_goes_first_until_somebody_starves() -> None:
    collator = Collator([SourcePolicy(priority=0), SourcePolicy(priority=5)], max_batch=1, max_delay_ns=0)
    served = []
    for tick in range(25):
        now = tick * 100 * MS
        waiting = {0: [ready(tick, now)], 1: [ready(tick, now)]}
        served.append(collator.decide(now, waiting, costs(0)).batch[0].source)
    assert served.count(1) > served.count(0) > 0
    gaps = [later - earlier for earlier, later in zip(_at(served, 0), _at(served, 0)[1:], strict=False)]
    assert all(gap * 100 * MS <= STARVING_NS + 200 * MS for gap in gaps)


def _at(served: list[int], source: int) -> list[int]:
    return [place for place, who in enumerate(served) if who == source]


@st.composite
def situations(draw: st.DrawFn) -> tuple[int, dict[int, list[Ready]], int, int]:
    now = draw(st.integers(0, 10_000)) * MS
    waiting = {}
    for source in range(draw(st.integers(1, 5))):
        count = draw(st.integers(0, 6))
        if count:
            ages = sorted((draw(st.integers(0, 300)) * MS for _ in range(count)), reverse=True)
            shapes = st.sampled_from([(8, 8), (8, 16)])  # a folder's pictures differ
            waiting[source] = [ready(number, now - age, shape=draw(shapes)) for number, age in enumerate(ages)]
    return now, waiting, draw(st.integers(1, 8)), draw(st.integers(0, 50)) * MS


@settings(deadline=None)
@given(situation=situations(), limit=st.none() | st.integers(1, 300), cost=st.integers(0, 20))
def test_whatever_waits_a_decision_is_lawful(
    situation: tuple[int, dict[int, list[Ready]], int, int], limit: int | None, cost: int
) -> None:
    now, waiting, max_batch, delay = situation
    policies = [SourcePolicy(None if limit is None else limit * MS) for _ in range(5)]
    decision = Collator(policies, max_batch, delay).decide(now, waiting, costs(cost * MS))
    offered = {(source, frame.frame_id) for source, frames in waiting.items() for frame in frames}
    batch = [(pick.source, pick.frame.frame_id) for pick in decision.batch]
    stale = [(pick.source, pick.frame.frame_id) for pick in decision.stale]
    assert len(batch) == len(set(batch)) <= max_batch
    assert set(batch) | set(stale) <= offered
    assert not set(batch) & set(stale)
    assert len({pick.frame.shape for pick in decision.batch}) <= 1
    for source in waiting:  # frames of a source leave in order, oldest first, without a gap
        chosen = [frame_id for who, frame_id in batch if who == source]
        fresh = [frame.frame_id for frame in waiting[source] if (source, frame.frame_id) not in stale]
        assert chosen == fresh[: len(chosen)]
    if limit is None:
        assert not stale
    elif decision.batch:
        assert all(now - pick.frame.captured_ns + cost * MS <= limit * MS for pick in decision.batch)
    if not batch and set(offered) - set(stale):
        assert decision.wake_ns is not None
        assert now < decision.wake_ns <= now + delay
        oldest = min(frame.ready_ns for frames in waiting.values() for frame in frames)
        assert decision.wake_ns >= oldest + delay


@settings(deadline=None, max_examples=50)
@given(sources=st.integers(1, 6), max_batch=st.integers(1, 4))
def test_nobody_starves_when_everybody_always_waits(sources: int, max_batch: int) -> None:
    collator = Collator([SourcePolicy()] * sources, max_batch, 0)
    served = [0] * sources
    rounds = 12 * sources
    for tick in range(rounds):
        now = tick * 10 * MS
        for pick in collator.decide(now, {index: [ready(tick, now)] for index in range(sources)}, costs(0)).batch:
            served[pick.source] += 1
    assert max(served) - min(served) <= 1


class General(Collator):
    """Without the short way for a frame of each source."""

    def _one_of_each(
        self, now_ns: int, waiting: Mapping[int, Sequence[Ready]], cost_ns: int, ended: frozenset[int]
    ) -> Decision | None:
        return None


@st.composite
def courses(draw: st.DrawFn) -> list[tuple[int, dict[int, list[Ready]], int, frozenset[int]]]:
    """What waits from look to look: mostly a frame of each source, as with cameras, but anything may happen."""
    course, now, ids = [], 0, [0] * 4
    waiting: dict[int, list[Ready]] = {}
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from([1, 5, 5, 33, 2000])) * MS
        for source in draw(st.permutations(range(4)))[: draw(st.integers(0, 4))]:
            shape = draw(st.sampled_from([(8, 8)] * 9 + [(8, 16)]))
            for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2]))):
                age = draw(st.integers(-1, 40)) * MS // 4
                waiting.setdefault(source, []).append(ready(ids[source], now - age, shape=shape))
                ids[source] += 1
        if draw(st.booleans()):
            waiting = {source: frames[-1:] for source, frames in waiting.items()}
        ended = draw(st.sampled_from([frozenset[int](), frozenset({1, 3}), frozenset(range(4))]))
        course.append((now, dict(waiting), draw(st.integers(0, 20)) * MS, ended))
        if draw(st.booleans()):
            waiting = {}
    return course


@settings(deadline=None, max_examples=300)
@given(
    course=courses(),
    policies=st.lists(
        st.builds(SourcePolicy, st.sampled_from([None, None, 20 * MS]), st.integers(0, 1)), min_size=4, max_size=4
    ),
    max_batch=st.integers(1, 6),
    delay=st.sampled_from([0, 4 * MS, 20 * MS]),
)
def test_the_short_way_decides_exactly_what_the_general_way_does(
    course: list[tuple[int, dict[int, list[Ready]], int, frozenset[int]]],
    policies: list[SourcePolicy],
    max_batch: int,
    delay: int,
) -> None:
    short, general = Collator(policies, max_batch, delay), General(policies, max_batch, delay)
    for now, waiting, cost, ended in course:
        assert short.decide(now, waiting, costs(cost), ended) == general.decide(now, waiting, costs(cost), ended)
        assert (short._rhythms, short._turn) == (general._rhythms, general._turn)
