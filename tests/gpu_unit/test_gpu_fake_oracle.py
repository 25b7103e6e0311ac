# SPDX-License-Identifier: Apache-2.0
"""The accounting GPU against an oracle: it must raise on exactly the accesses that nothing puts in order.

The oracle keeps, for every operation, the set of all operations that come before it, and looks at every pair. It knows
nothing of vector clocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edged.gpu.errors import AccountingError
from edged.gpu.fake import FakeGpu

SIZE = 8
STREAMS = st.integers(0, 2)
EVENTS = st.integers(0, 2)
# Mostly the whole buffer: parts that never meet find nothing.
PARTS = st.sampled_from([(0, SIZE), (0, SIZE), (0, 4), (4, 4), (2, 4), (7, 1)])


class Touch(NamedTuple):
    """An access by an operation."""

    operation: int
    memory: str
    start: int
    end: int
    write: bool


class Oracle:
    """Which operations come before which, as bit sets."""

    def __init__(self) -> None:
        self.count = 0
        self.host = 0
        self.streams = [0, 0, 0]
        self.events = [0, 0, 0]
        self.touches: list[Touch] = []

    def operation(self, before: int, parts: list[tuple[str, int, int, bool]]) -> tuple[int, bool]:
        """A new operation after all of ``before``; tells what comes before the next one, and whether it races."""
        number, self.count = self.count, self.count + 1
        race = any(
            other.memory == memory
            and other.start < start + size
            and start < other.end
            and (write or other.write)
            and not before >> other.operation & 1
            for memory, start, size, write in parts
            for other in self.touches
        )
        self.touches += [Touch(number, memory, start, start + size, write) for memory, start, size, write in parts]
        return before | 1 << number, race

    def enqueue(self, stream: int, parts: list[tuple[str, int, int, bool]]) -> bool:
        self.streams[stream], race = self.operation(self.streams[stream] | self.host, parts)
        return race

    def touch(self, parts: list[tuple[str, int, int, bool]]) -> bool:
        self.host, race = self.operation(self.host, parts)
        return race


class Against(RuleBasedStateMachine):
    """Random copies, events, waits and accesses by the host on three streams."""

    @initialize()
    def create(self) -> None:
        self.start()

    @precondition(lambda self: self.over)
    @rule()
    def begin_anew_after_a_race(self) -> None:
        self.start()

    def start(self) -> None:
        self.gpu = FakeGpu()
        self.oracle = Oracle()
        self.over = False
        self.streams = [self.gpu.stream(f"s{index}") for index in range(3)]
        self.events = [self.gpu.event(f"e{index}", timed=True) for index in range(3)]
        self.device = [self.gpu.device_buffer(f"d{index}", SIZE) for index in range(2)]
        self.memory = [self.gpu.host_buffer(f"h{index}", SIZE) for index in range(2)]

    def expect(self, race: bool, doing: str) -> AccountingGuard:
        self.over = race
        return AccountingGuard(race, doing)

    @precondition(lambda self: not self.over)
    @rule(stream=STREAMS, device=st.integers(0, 1), host=st.integers(0, 1), part=PARTS)
    def copy_in(self, stream: int, device: int, host: int, part: tuple[int, int]) -> None:
        start, size = part
        parts = [(f"h{host}", start, size, False), (f"d{device}", start, size, True)]
        with self.expect(self.oracle.enqueue(stream, parts), "copy in"):
            self.streams[stream].copy_in(self.device[device], start, self.memory[host].address + start, size)

    @precondition(lambda self: not self.over)
    @rule(stream=STREAMS, device=st.integers(0, 1), host=st.integers(0, 1), part=PARTS)
    def copy_out(self, stream: int, device: int, host: int, part: tuple[int, int]) -> None:
        start, size = part
        parts = [(f"d{device}", start, size, False), (f"h{host}", start, size, True)]
        with self.expect(self.oracle.enqueue(stream, parts), "copy out"):
            self.streams[stream].copy_out(self.memory[host].address + start, self.device[device], start, size)

    @precondition(lambda self: not self.over)
    @rule(host=st.integers(0, 1), part=PARTS, write=st.booleans())
    def touch(self, host: int, part: tuple[int, int], write: bool) -> None:
        start, size = part
        with self.expect(self.oracle.touch([(f"h{host}", start, size, write)]), "touch"):
            touch = self.gpu.host_writes if write else self.gpu.host_reads
            touch(self.memory[host].address + start, size)

    @precondition(lambda self: not self.over)
    @rule(event=EVENTS, stream=STREAMS)
    def record(self, event: int, stream: int) -> None:
        self.events[event].record(self.streams[stream])
        self.oracle.streams[stream] |= self.oracle.host
        self.oracle.events[event] = self.oracle.streams[stream]

    @precondition(lambda self: not self.over)
    @rule(event=EVENTS, stream=STREAMS)
    def hold(self, event: int, stream: int) -> None:
        self.streams[stream].wait(self.events[event])
        self.oracle.streams[stream] |= self.oracle.events[event]

    @precondition(lambda self: not self.over)
    @rule(event=EVENTS)
    def wait(self, event: int) -> None:
        assert self.events[event].wait(1)
        self.oracle.host |= self.oracle.events[event]

    @precondition(lambda self: not self.over)
    @rule(event=EVENTS)
    def look(self, event: int) -> None:
        if self.events[event].done():
            self.oracle.host |= self.oracle.events[event]

    @precondition(lambda self: not self.over)
    @rule(stream=STREAMS)
    def synchronize(self, stream: int) -> None:
        self.streams[stream].synchronize()
        self.oracle.host |= self.oracle.streams[stream]

    @precondition(lambda self: not self.over)
    @rule(steps=st.integers(1, 5), picks=st.lists(st.integers(0, 2), min_size=5, max_size=5))
    def advance(self, steps: int, picks: list[int]) -> None:
        left = iter(picks)
        self.gpu.advance(steps, lambda able: next(left) % able)

    @invariant()
    def counts_what_is_alive(self) -> None:
        if hasattr(self, "gpu"):
            assert len(self.gpu.live()) == 10

    def teardown(self) -> None:
        if not hasattr(self, "gpu") or self.over:
            return
        for stream in self.streams:
            stream.synchronize()
        for thing in (*self.streams, *self.events, *self.device, *self.memory):
            thing.close()
        assert self.gpu.close() == ()


class AccountingGuard:
    """Wants an `AccountingError` exactly where there is a race."""

    def __init__(self, race: bool, doing: str) -> None:
        self._race, self._doing = race, doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        found = kind is not None and issubclass(kind, AccountingError)
        assert found == self._race, f"{self._doing}: race {self._race}, found {found}"
        return found


TestAgainstOracle = Against.TestCase
TestAgainstOracle.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)


def test_random_schedules_of_ordered_work_give_the_same_bytes() -> None:
    """Two slots in the pipeline's own pattern, under every kind of schedule."""
    random = np.random.default_rng(3)
    for _ in range(50):
        gpu = FakeGpu()
        into, out = gpu.stream("in"), gpu.stream("out")
        source, target = gpu.host_buffer("source", 8), gpu.host_buffer("target", 8)
        device = [gpu.device_buffer(f"d{slot}", 4) for slot in range(2)]
        up = [gpu.event(f"up{slot}") for slot in range(2)]
        down = [gpu.event(f"down{slot}", timed=True) for slot in range(2)]
        for number in range(6):
            slot = number % 2
            assert down[slot].wait(1)
            part = slot * 4
            if number >= 2:
                assert list(target.array[part : part + 4]) == [number - 2] * 4
            gpu.host_writes(source.address + part, 4)
            source.array[part : part + 4] = number
            into.copy_in(device[slot], 0, source.address + part, 4)
            up[slot].record(into)
            out.wait(up[slot])
            out.copy_out(target.address + part, device[slot], 0, 4)
            down[slot].record(out)
            gpu.advance(int(random.integers(0, 6)), lambda able: int(random.integers(able)))


def test_the_oracle_itself_sees_a_race() -> None:
    oracle = Oracle()
    assert not oracle.enqueue(0, [("d", 0, 4, True)])
    assert not oracle.enqueue(1, [("d", 4, 4, True)])
    assert oracle.enqueue(1, [("d", 3, 2, False)])


@pytest.mark.parametrize("missing", ["up", "down"])
def test_leaving_out_one_event_of_the_pattern_is_found(missing: str) -> None:
    gpu = FakeGpu()
    into, out = gpu.stream("in"), gpu.stream("out")
    source, target = gpu.host_buffer("source", 4), gpu.host_buffer("target", 4)
    device = gpu.device_buffer("d", 4)
    up, down = gpu.event("up"), gpu.event("down", timed=True)

    def twice() -> None:
        for _ in range(2):
            into.copy_in(device, 0, source.address, 4)
            up.record(into)
            if missing != "up":
                out.wait(up)
            out.copy_out(target.address, device, 0, 4)
            down.record(out)
            if missing != "down":
                down.wait(1)

    with pytest.raises(AccountingError):
        twice()
