# SPDX-License-Identifier: Apache-2.0
"""Whole races: on ONNX Runtime, and on the accounting GPU, which refuses every race of its own kind and every leak."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import pytest
from engine.race.race_rig import cpu_course, gpu_course, graph, on_cpu, on_fake

from edged.engine.race.entrant import Course, Entrant, Limits, Stand
from edged.engine.race.pace import Deadline, pace_apart, pace_together
from edged.engine.race.race import race
from edged.engine.race.result import Conditions, RaceResult
from edged.engine.report.candidate import Accuracy
from edged.errors import EngineError, InternalError
from edged.gpu.errors import GpuLostError, GpuMemoryError
from edged.gpu.fake import FakeGpu

QUICK = Limits(seconds=30.0, turn_s=0.02, longest_turn_s=0.02, rounds=10, most_rounds=10)


def check(result: RaceResult) -> None:
    """The figures of a result agree with each other, also after a trip through JSON."""
    assert msgspec.json.decode(msgspec.json.encode(result), type=RaceResult) == result
    reference = next((one for one in result.entries if one.precision == "fp32" and one.timings), None)
    for one in result.entries:
        if not one.timings:
            continue
        assert [it.batch for it in one.timings] == list(result.weights)
        for it in one.timings:
            spreads = [it.frames_per_s, it.ms, it.latency_ms, it.device_ms]
            assert all(len(each.rounds) == result.rounds for each in spreads)
            assert all(each.low <= each.median <= each.high for each in spreads)
            for rate, ms in zip(it.frames_per_s.rounds, it.ms.rounds, strict=True):
                assert rate * ms == pytest.approx(1e3 * it.batch)
            assert it.batches >= result.rounds
            if reference is not None:
                below = reference.timing(it.batch)
                assert below is not None
                assert it.to_fp32 is not None
                for ratio, rate, other in zip(
                    it.to_fp32.rounds, it.frames_per_s.rounds, below.frames_per_s.rounds, strict=True
                ):
                    assert ratio == pytest.approx(rate / other)
    measured = sum(
        it.ms.rounds[number] / 1e3 for one in result.entries for it in one.timings for number in range(result.rounds)
    )
    assert measured <= result.seconds


def test_onnx_runtime_the_faster_one_wins(tmp_path: Path) -> None:
    slow, output = graph(tmp_path, "slow", 40)
    fast, _ = graph(tmp_path, "fast", 2)
    entrants = [on_cpu(slow, "FP32", "fp32"), on_cpu(fast, "INT8", "int8", loss=0.4, error=0.2)]
    # Where a busy machine holds up some turns of 20 ms, the two may tie: now and then, not every time.
    for _ in range(4):
        result = race(entrants, cpu_course(output, batches={1: 1.0, 4: 1.0}), QUICK)
        check(result)
        if result.winner == "INT8":
            break
    assert (result.winner, result.ended, result.rounds, result.together) == ("INT8", "all rounds", 10, True)
    assert "INT8 is the fastest" in result.why
    timing = result.entry("INT8").timing(1)
    assert timing is not None
    assert timing.to_fp32 is not None
    # Not in every single round: a busy machine may stop one turn of 20 ms for longer than all of the others take.
    assert timing.to_fp32.median > 1
    assert timing.to_fp16 is None
    accuracy = Accuracy(metric="AP", value=33.6, loss=0.4, error=0.2)
    shown = result.entry("INT8").candidate(chosen=True, accuracy=accuracy, int8_share=0.9)
    assert shown.timings[0].frames_per_s.median == timing.frames_per_s.median
    assert shown.chosen


def test_onnx_runtime_equal_ones_tie(tmp_path: Path) -> None:
    path, output = graph(tmp_path, "same", 8)
    entrants = [on_cpu(path, "INT8", "int8", loss=0.1), on_cpu(path, "FP16", "fp16"), on_cpu(path, "FP32", "fp32")]
    # Turns of 20 ms on a busy machine may all favour the same one of two equals: now and then, not every time.
    for _ in range(4):
        result = race(entrants, cpu_course(output), QUICK)
        check(result)
        if result.winner == "FP32" and (result.ties or "a tie" in result.why):
            break
    assert result.winner == "FP32"
    assert result.ties or "a tie" in result.why


def test_onnx_runtime_runs_side_by_side(tmp_path: Path) -> None:
    path, output = graph(tmp_path, "same", 3)
    course = cpu_course(output, parallel=2, slots=3, batches={2: 1.0})
    result = race([on_cpu(path, "FP32", "fp32")], course, replace(QUICK, rounds=2, most_rounds=2))
    check(result)
    assert result.winner == "FP32"
    assert "the only one that may win" in result.why
    assert result.slots == 3


def test_the_accounting_gpu() -> None:
    gpu = FakeGpu()
    # All of ten rounds have to agree: FP32 is so slow that it takes a pause of a second within a turn to hide it.
    entrants = [
        on_fake(gpu, "FP32", "fp32", 24.0),
        on_fake(gpu, "FP16", "fp16", 3.0),
        on_fake(gpu, "all INT8", "int8", 0.5, loss=24.0, refused_because="it loses 24.0 points"),
    ]
    seen: list[tuple[int, int]] = []
    conditions = (Conditions(celsius={"gpu": 40.0 + number}) for number in count())
    result = race(entrants, gpu_course(), QUICK, progress=lambda *it: seen.append(it), look=lambda: next(conditions))
    check(result)
    assert result.winner == "FP16"
    assert "all INT8 would be" in result.why
    for name, cost in (("FP32", 24.0), ("FP16", 3.0), ("all INT8", 0.5)):
        for timing in result.entry(name).timings:
            assert timing.device_ms.median == pytest.approx(cost, rel=0.01)
            assert timing.ms.median >= cost * 0.99
    assert result.entry("FP16").io == "copy"
    assert result.entry("FP16").memory is not None
    assert result.entry("all INT8").refused_because
    assert seen == [(number + 1, 60) for number in range(60)]
    assert result.begin is not None
    assert result.end is not None
    assert (result.begin.celsius["gpu"], result.end.celsius["gpu"]) == (40.0, 41.0)
    assert gpu.close() == ()


def test_all_refused_nobody_wins() -> None:
    gpu = FakeGpu()
    entrants = [on_fake(gpu, name, "int8", 1.0, refused_because="it loses 3.0 points") for name in "ab"]
    result = race(entrants, gpu_course(), QUICK)
    check(result)
    assert result.winner is None
    assert "it loses 3.0 points" in result.why
    assert result.rounds == 10
    assert gpu.close() == ()


def test_engines_that_do_not_fit_together_are_reloaded() -> None:
    gpu = FakeGpu(total_bytes=1 << 20)
    entrants = [
        on_fake(gpu, "FP32", "fp32", 8.0, activation_bytes=600_000),
        on_fake(gpu, "INT8", "int8", 1.0, activation_bytes=600_000),
        on_fake(gpu, "huge", "int8", 1.0, activation_bytes=2 << 20),
    ]
    result = race(entrants, gpu_course(), QUICK)
    check(result)
    assert (result.winner, result.together, result.rounds) == ("INT8", False, 10)
    assert "do not fit" in result.notes[0]
    assert result.entry("huge").failed
    assert not result.entry("huge").timings
    with pytest.raises(GpuMemoryError):
        race(entrants, gpu_course(), replace(QUICK, together=True))
    assert gpu.close() == ()


def test_who_cannot_be_loaded_does_not_stop_the_others() -> None:
    gpu = FakeGpu()

    def broken(course: Course) -> Stand:
        raise EngineError("it was built for another GPU", where="int8.plan")

    entrants = [Entrant("INT8", "int8", "tensorrt", broken), on_fake(gpu, "FP16", "fp16", 1.0)]
    result = race(entrants, gpu_course(), QUICK)
    check(result)
    assert result.winner == "FP16"
    assert "another GPU" in result.entry("INT8").failed
    alone = race(entrants[:1], gpu_course(), QUICK)
    assert alone.winner is None
    assert "another GPU" in alone.why
    assert gpu.close() == ()


def test_an_engine_that_takes_no_such_batch_gives_all_back() -> None:
    gpu = FakeGpu()
    result = race([on_fake(gpu, "FP16", "fp16", 1.0)], gpu_course(batches={9: 1.0}), QUICK)
    assert "takes no batch of 9" in result.entry("FP16").failed
    assert gpu.close() == ()


def test_a_lost_gpu_is_told() -> None:
    gpu = FakeGpu()
    gpu.fail_at("copy_in", 40, 719)
    with pytest.raises(GpuLostError):
        race([on_fake(gpu, "FP16", "fp16", 1.0)], gpu_course(), QUICK)


@pytest.mark.parametrize("together", [None, False])
def test_time_is_kept(together: bool | None) -> None:
    gpu = FakeGpu()
    entrants = [on_fake(gpu, "FP32", "fp32", 20.0), on_fake(gpu, "INT8", "int8", 10.0)]
    limits = Limits(seconds=0.8, turn_s=0.05, rounds=10, together=together)
    for _ in range(4):
        result = race(entrants, gpu_course(batches={1: 1.0}), limits)
        if result.rounds:  # none where the machine let nobody run for most of that time
            break
    check(result)
    # What runs is waited for; the rest is room for a busy machine, on which fewer rounds fit in.
    assert result.seconds < 0.8 + 2.0
    assert 0 < result.rounds < 10
    assert any("rounds were completed in 0.8 s" in note for note in result.notes)
    assert gpu.close() == ()


def test_no_time_at_all() -> None:
    gpu = FakeGpu()
    result = race([on_fake(gpu, "FP32", "fp32", 1.0)], gpu_course(), Limits(seconds=0.0))
    assert (result.winner, result.rounds, result.ended) == (None, 0, "out of time")
    assert "allow the race more" in result.why
    assert gpu.close() == ()


@pytest.mark.parametrize("together", [None, False])
def test_it_can_be_cancelled(together: bool | None) -> None:
    gpu = FakeGpu()
    turns: list[int] = []
    entrants = [on_fake(gpu, "FP32", "fp32", 2.0), on_fake(gpu, "INT8", "int8", 1.0)]
    result = race(
        entrants,
        gpu_course(),
        replace(QUICK, together=together),
        cancelled=lambda: len(turns) >= 10,
        progress=lambda done, planned: turns.append(done),
    )
    check(result)
    # Four turns make a round; the third was cut short.
    assert (result.winner, result.ended, result.rounds) == (None, "cancelled", 2)
    assert result.why == "the race was cancelled after 2 rounds"
    assert gpu.close() == ()


@pytest.mark.parametrize("batches", [{}, {0: 1.0}, {1: 0.0}, {1: -1.0, 2: 3.0}, {1: float("nan")}, {1: float("inf")}])
def test_weights_that_decide_nothing_are_refused(batches: dict[int, float]) -> None:
    with pytest.raises(InternalError, match="race"):
        race([], gpu_course(batches=batches))


def test_names_tell_entrants_apart() -> None:
    gpu = FakeGpu()
    with pytest.raises(InternalError, match="same name"):
        race([on_fake(gpu, "a", "int8", 1.0)] * 2, gpu_course())


@pytest.mark.parametrize("cost", [0.0005, 0.01, 0.5, 5.0])
@pytest.mark.parametrize("ways", [1, 6, 12])
@pytest.mark.parametrize("left", [0.1, 5.0, 60.0])
def test_a_pace_fits_into_the_time(cost: float, ways: int, left: float) -> None:
    limits = Limits()
    pace = pace_together([cost] * ways, left, limits)
    assert limits.turn_s <= pace.turn_s <= 0.25
    assert 1 <= pace.rounds <= limits.most_rounds
    needed = ways * (pace.warm_up_s + cost + pace.rounds * (pace.turn_s + cost))
    assert pace.rounds == 1 or needed <= left
    # Ten rounds, wherever turns of 50 ms let them fit.
    if ways * 11 * (0.05 + cost) <= 0.9 * left:
        assert pace.rounds >= 10
    assert limits.turn_s <= pace_apart(ways, left, limits).turn_s <= 0.5


def test_a_deadline() -> None:
    now = [5.0]
    deadline = Deadline(2.0, lambda: False, lambda: now[0])
    assert (deadline.left_s, deadline.spent_s, deadline.stop()) == (2.0, 0.0, False)
    now[0] = 7.5
    assert (deadline.left_s, deadline.spent_s, deadline.stop()) == (0.0, 2.5, True)
    assert Deadline(2.0, lambda: True, lambda: 0.0).stop()
