# SPDX-License-Identifier: Apache-2.0
"""The batching policy: when a batch closes, who is in it, who is dropped, and that nobody starves."""

import copy
from collections.abc import Callable, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import Ready
from edged.stages.collate.policy import Collator, Pick, SourcePolicy

MS = 1_000_000
TWO = (SourcePolicy(), SourcePolicy())


def ready(frame_id: int, ready_ns: int, *, captured_ns: int | None = None, shape: tuple[int, int] = (8, 8)) -> Ready:
    return Ready(frame_id % 4, frame_id, ready_ns if captured_ns is None else captured_ns, ready_ns, *shape)


def costs(per_frame_ns: int, per_batch_ns: int = 0) -> Callable[[int], int]:
    return lambda count: per_batch_ns + count * per_frame_ns


def in_step(collator: Collator, sources: Sequence[int], upto: int = 3) -> int:
    """Each source delivers every 10 ms, and all is taken; returns when the next frames are due."""
    for tick in range(upto):
        now = 10 * MS * tick
        assert collator.decide(now, {source: [ready(tick, now)] for source in sources}, costs(0)).batch
    return 10 * MS * upto


def test_a_full_batch_closes_at_once() -> None:
    collator = Collator(TWO, max_batch=2, max_delay_ns=100 * MS)
    decision = collator.decide(MS, {0: [ready(0, MS)], 1: [ready(0, MS)]}, costs(0))
    assert {pick.source for pick in decision.batch} == {0, 1}


def test_company_is_waited_for_as_long_as_it_pays_and_no_longer_than_it_is_expected() -> None:
    alone = ready(3, 29 * MS)
    for per_batch, pays in ((8 * MS, True), (1 * MS, False)):  # in common are 8 of 8.1 ms, or 1 of 1.1 ms
        collator = Collator(TWO, max_batch=4, max_delay_ns=4 * MS)
        due = in_step(collator, (0, 1))
        decision = collator.decide(29 * MS, {0: [alone]}, costs(MS // 10, per_batch))
        assert decision == (([], [], due) if pays else ([Pick(0, alone)], [], None))
    # The other one did not come when it should have: it is not waited for.
    collator = Collator(TWO, max_batch=4, max_delay_ns=4 * MS)
    due = in_step(collator, (0, 1))
    assert collator.decide(29 * MS, {0: [alone]}, costs(0, 8 * MS)).wake_ns == due
    assert collator.decide(due, {0: [alone]}, costs(0, 8 * MS)).batch == [Pick(0, alone)]


def test_no_wait_for_company_beyond_the_longest_delay_or_a_deadline() -> None:
    for limit, until in ((None, 26 * MS), (40 * MS, 25 * MS)):
        collator = Collator([SourcePolicy(limit), SourcePolicy()], max_batch=4, max_delay_ns=4 * MS)
        in_step(collator, (0, 1))
        frame = ready(3, 22 * MS, captured_ns=5 * MS)
        decision = collator.decide(23 * MS, {0: [frame]}, costs(0, 20 * MS))
        assert decision.wake_ns == until  # 22 + 4 ms; 5 + 40 - 20 ms


def test_nobody_waits_for_a_source_that_paused_ended_or_never_delivered() -> None:
    cost = costs(0, 50 * MS)
    for ended, now in (({1}, 29 * MS), (set[int](), 60 * MS)):
        collator = Collator([*TWO, SourcePolicy()], max_batch=4, max_delay_ns=40 * MS)
        in_step(collator, (0, 1))
        assert collator.decide(now, {0: [ready(3, now)]}, cost, ended).batch


def test_a_batch_is_not_closed_before_the_device_is_nearly_free() -> None:
    collator = Collator([SourcePolicy(500 * MS), SourcePolicy()], max_batch=2, max_delay_ns=0)
    first, second, lossless = ready(0, MS), ready(1, 15 * MS), ready(0, 2 * MS)
    assert collator.decide(MS, {0: [first]}, costs(MS), (), 20 * MS, 3 * MS) == ([], [], 17 * MS)
    assert collator.decide(2 * MS, {0: [first], 1: [lossless]}, costs(MS), (), 20 * MS, 3 * MS) == ([], [], 17 * MS)
    waiting = {0: [second], 1: [lossless]}  # a newer frame has taken the place of the first
    assert collator.decide(17 * MS, waiting, costs(MS), (), 20 * MS, 3 * MS).batch == [
        Pick(0, second),
        Pick(1, lossless),
    ]


def test_a_full_batch_that_cannot_get_any_fresher_closes_while_the_device_is_busy() -> None:
    collator = Collator(TWO, max_batch=3, max_delay_ns=0)
    waiting = {0: [ready(0, 0), ready(1, 0)]}
    assert collator.decide(MS, waiting, costs(MS), (), 20 * MS, MS).batch == []
    waiting[1] = [ready(0, MS)]
    assert len(collator.decide(MS, waiting, costs(MS), (), 20 * MS, MS).batch) == 3


def test_too_old_frames_are_dropped_before_they_cost_anything() -> None:
    for now, free in ((85, 0), (70, 85)):  # 85 + 2 x 10 ms is beyond 100 ms
        collator = Collator([SourcePolicy(max_age_ns=100 * MS), SourcePolicy()], max_batch=2, max_delay_ns=0)
        old = ready(0, 0, captured_ns=0)
        decision = collator.decide(now * MS, {0: [old], 1: [old]}, costs(10 * MS), (), free * MS, 20 * MS)
        assert decision.stale == [Pick(0, old)]
        assert decision.batch == [Pick(1, old)]  # lossless frames have no age limit


def test_only_frames_of_one_shape_share_a_batch() -> None:
    collator = Collator(TWO, max_batch=4, max_delay_ns=0)
    waiting = {0: [ready(0, 0, shape=(8, 8))], 1: [ready(0, 0, shape=(8, 16))]}
    first = collator.decide(MS, waiting, costs(0)).batch
    assert len(first) == 1
    other = 1 - first[0].source
    second = collator.decide(2 * MS, waiting, costs(0)).batch
    assert second[0].source == other


def test_a_frame_that_would_be_lost_goes_first_unless_a_newer_one_is_on_its_way() -> None:
    policies = [SourcePolicy(1000 * MS), SourcePolicy(1000 * MS), SourcePolicy(60 * MS)]
    for interval, first in ((500, 2), (30, 0)):
        collator = Collator(policies, max_batch=1, max_delay_ns=0)
        for tick in range(3):
            collator.decide(tick * interval * MS, {2: [ready(tick, tick * interval * MS)]}, costs(20 * MS))
        now = (2 * interval + 25) * MS  # it was served last, and its last frame is 25 ms old
        waiting = {source: [ready(3, now - 25 * MS + 1)] for source in (0, 1, 2)}
        assert collator.decide(now, waiting, costs(20 * MS)).batch[0].source == first


def test_priority_goes_first_and_leaves_an_eighth_of_the_places_to_the_others() -> None:
    policies = [SourcePolicy()] * 3 + [SourcePolicy(priority=5)] * 3
    collator = Collator(policies, max_batch=2, max_delay_ns=0)
    places = 1600
    served = [0] * 6
    for tick in range(places // 2):
        now = tick * 10 * MS
        for pick in collator.decide(now, {source: [ready(tick, now)] for source in range(6)}, costs(0)).batch:
            served[pick.source] += 1
    assert places // 20 < sum(served[:3]) <= places // 8
    assert max(served[:3]) - min(served[:3]) <= 1
    assert max(served[3:]) - min(served[3:]) <= 1


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
@given(situation=situations(), limit=st.none() | st.integers(1, 300), cost=st.integers(0, 20), busy=st.integers(0, 40))
def test_whatever_waits_a_decision_is_lawful(
    situation: tuple[int, dict[int, list[Ready]], int, int], limit: int | None, cost: int, busy: int
) -> None:
    now, waiting, max_batch, delay = situation
    policies = [SourcePolicy(None if limit is None else limit * MS) for _ in range(5)]
    collator = Collator(policies, max_batch, delay)
    decision = collator.decide(now, waiting, costs(cost * MS), (), now + busy * MS, 5 * MS)
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
        least = now + (busy + cost) * MS
        assert all(least - pick.frame.captured_ns <= limit * MS for pick in decision.batch)
    if not batch and set(offered) - set(stale):
        # Nothing is expected of anybody, so it can only be the device that is busy.
        assert decision.wake_ns == now + (busy - 5) * MS > now


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


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(2, 6), st.integers(1, 3))
def test_whatever_comes_nobody_is_passed_over_more_often_than_promised(
    data: st.DataObject, sources: int, max_batch: int
) -> None:
    """The others may be of a higher priority, of another shape and in a hurry: an adversary picks what they deliver."""
    policies = [SourcePolicy(80 * MS if number % 2 else None, priority=number) for number in range(sources)]
    collator = Collator(policies, max_batch, 0)
    most = collator.patience + sources - 1
    cycle = data.draw(
        st.lists(
            st.lists(
                st.tuples(st.booleans(), st.integers(0, 60), st.sampled_from([8, 16])),
                min_size=sources,
                max_size=sources,
            ),
            min_size=1,
            max_size=5,
        )
    )
    passed = [0] * sources
    for tick in range(3 * most):
        now = 1000 * MS + tick * 10 * MS
        waiting = {
            source: [ready(tick, now - age * MS, shape=(8, width))]
            for source, (there, age, width) in enumerate(cycle[tick % len(cycle)])
            if there or source == 0
        }
        served = {pick.source for pick in collator.decide(now, waiting, costs(0, 10 * MS)).batch}
        assert served
        for source in waiting:
            passed[source] = 0 if source in served else passed[source] + 1
            assert passed[source] <= most


class General(Collator):
    """Without the short way for a frame of each source."""

    def _one_of_each(
        self, begin_ns: int, waiting: Mapping[int, Sequence[Ready]], cost_ns: Callable[[int], int]
    ) -> list[Pick] | None:
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
            count = draw(st.sampled_from([1, 1, 1, 1, 2]))
            ages = sorted((draw(st.integers(-1, 40)) for _ in range(count)), reverse=True)
            for age in ages:
                waiting.setdefault(source, []).append(ready(ids[source], now - age * MS // 4, shape=shape))
                ids[source] += 1
        if draw(st.booleans()):
            waiting = {source: frames[-1:] for source, frames in waiting.items()}
        ended = draw(st.sampled_from([frozenset[int](), frozenset({1, 3}), frozenset(range(4))]))
        course.append(
            (now, {source: list(frames) for source, frames in waiting.items()}, draw(st.integers(0, 20)) * MS, ended)
        )
        if draw(st.booleans()):
            waiting = {}
    return course


def remembered(collator: Collator) -> object:
    rhythms = [(each.last_id, each.last_ns, each.interval_ns, each.scatter_ns) for each in collator._rhythms]
    return rhythms, collator._passed, collator._turn


@settings(deadline=None, max_examples=200)
@given(
    course=courses(),
    limits=st.lists(st.sampled_from([None, None, 20 * MS]), min_size=4, max_size=4),
    max_batch=st.integers(1, 6),
    delay=st.sampled_from([0, 4 * MS, 20 * MS]),
)
def test_the_short_way_decides_exactly_what_the_general_way_does(
    course: list[tuple[int, dict[int, list[Ready]], int, frozenset[int]]],
    limits: list[int | None],
    max_batch: int,
    delay: int,
) -> None:
    # A live source has one frame at most.
    policies = [SourcePolicy(limit, number % 2) for number, limit in enumerate(limits)]
    short = Collator(policies, max_batch, delay)
    for now, frames, cost, ended in course:
        waiting = {source: each if limits[source] is None else each[-1:] for source, each in frames.items()}
        cost_ns = costs(MS, cost)
        general = General(policies, max_batch, delay)
        for name in ("_rhythms", "_served", "_passed", "_turn"):
            setattr(general, name, copy.deepcopy(getattr(short, name)))
        (batch, *rest), (as_chosen, *likewise) = (
            each.decide(now, waiting, cost_ns, ended) for each in (short, general)
        )
        assert sorted(batch) == sorted(as_chosen)
        assert rest == likewise
        assert remembered(short) == remembered(general)
