# SPDX-License-Identifier: Apache-2.0
"""The simulator, and what edged's batching policy promises in any course of events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.collate.policy import Collator
from tools.simulate.__main__ import EDGED, compare, main
from tools.simulate.device import Device, linear
from tools.simulate.feeds import MS, NS, Feed, mixed, offered_hz
from tools.simulate.figures import fair_shares
from tools.simulate.world import World, policies_of

FEEDS = st.lists(
    st.builds(
        Feed,
        fps=st.sampled_from([2.0, 5.0, 15.0, 30.0, 60.0]),
        jitter_ms=st.sampled_from([0.0, 3.0, 20.0]),
        pause_ms=st.sampled_from([0.0, 0.0, 500.0]),
        key_s=st.just(0.7),
        max_age_ms=st.sampled_from([None, 60.0, 200.0, 500.0]),
        priority=st.sampled_from([0, 0, 1]),
        dies_s=st.sampled_from([float("inf"), float("inf"), 0.8]),
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    each, fixed = draw(st.floats(0.2, 20.0)), draw(st.floats(0.0, 40.0))
    costs = tuple(round((fixed + each * count) * MS) for count in range(1, draw(st.integers(1, 8)) + 1))
    return Device(costs, slots=draw(st.integers(1, 3)), noise=draw(st.sampled_from([0.0, 0.1])))


@settings(deadline=None, max_examples=60)
@given(FEEDS, devices(), st.integers(0, 1000), st.sampled_from([0.0, 4.0, 30.0]))
def test_in_any_course_every_frame_is_accounted_for_nobody_starves_and_nothing_old_is_published(
    feeds: list[Feed], device: Device, seed: int, delay_ms: float
) -> None:
    collator = Collator(policies_of(feeds), device.max_batch, int(delay_ms * MS))
    world = World(feeds, device, collator, seed=seed, seconds=1.5).run()
    for feed, tally in zip(feeds, world.tallies, strict=True):
        assert tally.captured == len(tally.published) + tally.overwritten + tally.stale
        assert tally.most_passed <= collator.patience + len(feeds) - 1
        if feed.max_age_ms is None:
            assert tally.captured == len(tally.published)
        else:
            assert all(each.age_ns <= feed.max_age_ms * MS for each in tally.published)
    for number in range(len(feeds)):
        ids = [pick.frame.frame_id for batch in world.batches for pick in batch.picks if pick.source == number]
        assert ids == sorted(set(ids))
    assert all(len(batch.picks) <= device.max_batch for batch in world.batches)
    done = 0
    for batch in world.batches:
        if len(feeds) <= device.max_batch and all(feed.max_age_ms is not None for feed in feeds):
            # All that waits goes: at the latest when the device is free and the oldest has waited long enough.
            oldest = min(pick.frame.ready_ns for pick in batch.picks)
            assert batch.closed_ns <= max(done, oldest + int(delay_ms * MS)) + 2 * MS + device.noise * 100 * MS
        done = batch.done_ns


@pytest.mark.parametrize("overhead", [4.0, 1.0])
@pytest.mark.parametrize("load", [0.5, 0.9, 3.0])
def test_it_is_fresher_than_fixed_windows_and_publishes_no_less(load: float, overhead: float) -> None:
    seconds = 30.0
    feeds = mixed(4)
    device = Device(tuple(round(cost * MS) for cost in linear(overhead, 8)))
    device = device.of_capacity(offered_hz(feeds, 1, seconds) / load)
    found = compare(feeds, device, seconds=seconds)
    edged = found.pop(EDGED)
    for other in found.values():
        # At three times the load all of them fill each batch: what differs is the noise of the device.
        assert edged.published_hz >= 0.995 * other.published_hz
        assert edged.age_ms[2] < 0.97 * other.age_ms[2]
        assert edged.fairness >= other.fairness - 0.001
    if load < 1:
        assert edged.published_hz > 1.1 * found["40 ms"].published_hz
    else:
        assert edged.age_ms[2] < 0.75 * found["2 ms"].age_ms[2]


def test_a_source_that_died_or_pauses_costs_the_others_nothing() -> None:
    device = Device(tuple(round(cost * MS) for cost in linear(10, 4)))
    steady = [Feed(30.0, 1.0)]

    def p99(others: list[Feed]) -> float:
        feeds = steady + others
        world = World(feeds, device, Collator(policies_of(feeds), 4, 30 * MS), seed=1, seconds=6.0).run()
        ages = sorted(each.age_ns for each in world.tallies[0].published if each.at_ns > NS)
        return ages[int(0.99 * len(ages))] / MS

    alone = p99([])
    assert p99([Feed(30.0, 1.0, dies_s=0.9)]) == pytest.approx(alone, abs=0.5)
    assert p99([Feed(30.0, 1.0)]) > alone + 1.0  # one that lives shares the device, and is waited for a little


def test_a_lossless_source_waits_for_space() -> None:
    device = Device((100 * MS, 110 * MS), noise=0.0)
    feeds = [Feed(60.0, max_age_ms=None)]
    world = World(feeds, device, Collator(policies_of(feeds), 2, 0), seed=1, seconds=1.0).run()
    assert 55 <= world.tallies[0].captured <= 60
    assert world.batches[-1].done_ns > 2.9 * NS
    # It was captured when there was space: what waited for that is its own time.
    frames = [pick.frame for batch in world.batches for pick in batch.picks]
    assert max(frame.ready_ns - frame.captured_ns for frame in frames) > 0
    assert max(batch.closed_ns - pick.frame.ready_ns for batch in world.batches for pick in batch.picks) < 500 * MS


def test_fair_shares() -> None:
    assert fair_shares([5, 5, 30, 30], 30) == [5, 5, 10, 10]
    assert fair_shares([1, 2, 3], 100) == [1, 2, 3]
    assert fair_shares([], 3) == []


def test_the_command_prints_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "runs.json"
    arguments = ["--seconds", "3", "--each", "1", "--loads", "0.5", "--windows-ms", "40", "--output", str(output)]
    assert main(arguments) == 0
    first = output.read_text()
    assert main([*arguments, "--costs-ms", "3", "3.5", "4"]) == 0
    assert [run["policy"] for run in json.loads(first)["runs"]] == [EDGED, "40 ms"]
    assert "least share" in capsys.readouterr().out
    assert main(arguments) == 0
    assert output.read_text() == first  # one seed, one course
