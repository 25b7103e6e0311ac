# SPDX-License-Identifier: Apache-2.0
"""The works of the accounting GPU: queues of operations, and when they are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from edged.gpu.fake.accounting import HOST, AddressSpace, Clock, Span, join
from edged.gpu.fake.faults import Faults
from edged.gpu.inventory import Inventory


class Work(NamedTuple):
    """Something a stream can do, again and again if it is in a graph.

    Attributes:
        what: for messages.
        reads: memory read.
        writes: memory written.
        begin: called when it is enqueued; gives what is to be called when it is done.
        cost_ms: how long it takes on the machine's own clock.
        check: called when a graph that holds it is launched.
    """

    what: str
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    begin: Callable[[], Callable[[], None]]
    cost_ms: float = 0.01
    check: Callable[[], None] | None = None


class Mark:
    """One recording of an event: where it is, what it implies, and when it was reached."""

    def __init__(self, queue: Queue, clock: Clock) -> None:
        self.queue = queue
        self.clock = clock
        self.reached = False
        self.reached_ms = 0.0


class Point:
    """An event: its latest recording, None before the first."""

    def __init__(self) -> None:
        self.mark: Mark | None = None

    @property
    def reached(self) -> bool:
        """Whether the latest recording is reached, or there is none."""
        return self.mark is None or self.mark.reached


class _Operation(NamedTuple):
    run: Callable[[], None]
    cost_ms: float = 0.0
    after: Mark | None = None


class Queue:
    """A stream's operations in order, and what its end knows."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        self.clock: Clock = {actor: 0}
        self.recording: list[Work] | None = None
        self.operations: deque[_Operation] = deque()


class Machine:
    """All queues, the host's knowledge, memory and planned failures.

    Attributes:
        host: what the host knows to be over.
        now_ms: the device's clock.
        stalled: nothing moves while this is set, as on a GPU that hangs.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.space = AddressSpace()
        self.inventory = Inventory()
        self.host: Clock = {HOST: 0}
        self.now_ms = 0.0
        self.stalled = False
        self._queues: list[Queue] = []

    def queue(self, name: str) -> Queue:
        """Make a queue."""
        queue = Queue(f"stream {name} #{len(self._queues)}")
        self._queues.append(queue)
        return queue

    def enqueue(self, queue: Queue, work: Work) -> None:
        """Check a piece of work against all others and put it at the queue's end (or into a recording)."""
        if queue.recording is not None:
            queue.recording.append(work)
            return
        clock = queue.clock
        join(clock, self.host)
        clock[queue.actor] += 1
        for span in work.reads:
            span.touch(write=False, actor=queue.actor, clock=clock, what=work.what)
        for span in work.writes:
            span.touch(write=True, actor=queue.actor, clock=clock, what=work.what)
        queue.operations.append(_Operation(work.begin(), work.cost_ms))

    def record(self, queue: Queue, point: Point) -> None:
        """Have a point reached at the queue's current end."""
        join(queue.clock, self.host)
        mark = point.mark = Mark(queue, dict(queue.clock))

        def reach() -> None:
            mark.reached = True
            mark.reached_ms = self.now_ms

        queue.operations.append(_Operation(reach))

    def call(self, queue: Queue, function: Callable[[], None]) -> None:
        """Have the host do something at the queue's current end, in a thread of the driver's."""
        queue.operations.append(_Operation(function))

    def hold(self, queue: Queue, point: Point) -> None:
        """Have what follows in a queue wait for a point as it stands."""
        if point.mark is not None:
            join(queue.clock, point.mark.clock)
            queue.operations.append(_Operation(lambda: None, after=point.mark))

    def known(self, point: Point) -> bool:
        """Whether a point is reached; if so, the host knows what comes before it."""
        if point.mark is not None and point.mark.reached:
            join(self.host, point.mark.clock)
        return point.reached

    def reach(self, point: Point) -> bool:
        """Do as little as takes to reach a point; False when nothing moves."""
        if point.mark is not None:
            self._reach(point.mark)
        return self.known(point)

    def empty(self, queue: Queue) -> bool:
        """Whether a queue is empty; if so, the host knows it."""
        if queue.operations:
            return False
        join(self.host, queue.clock)
        return True

    def finish(self, queue: Queue) -> None:
        """Do everything in a queue, and what that waits for."""
        while queue.operations and not self.stalled:
            self._run_head(queue)

    def advance(self, steps: int, choose: Callable[[int], int]) -> int:
        """Do up to ``steps`` operations, each one chosen among the queues that can go on.

        Args:
            steps: how many at the most.
            choose: gives an index below its argument.

        Returns:
            How many were done.
        """
        for done in range(steps):
            able = [queue for queue in self._queues if queue.operations and self._able(queue)]
            if not able or self.stalled:
                return done
            self._run_head(able[choose(len(able))])
        return steps

    @property
    def pending(self) -> int:
        """Operations not done."""
        return sum(len(queue.operations) for queue in self._queues)

    def touch_host(self, span: Span, *, write: bool, what: str) -> None:
        """Note an access by the host."""
        self.host[HOST] += 1
        span.touch(write=write, actor=HOST, clock=self.host, what=what)

    @staticmethod
    def _able(queue: Queue) -> bool:
        after = queue.operations[0].after
        return after is None or after.reached

    def _reach(self, mark: Mark) -> None:
        while not mark.reached and mark.queue.operations and not self.stalled:
            self._run_head(mark.queue)

    def _run_head(self, queue: Queue) -> None:
        after = queue.operations[0].after
        if after is not None:
            self._reach(after)
            if not after.reached:
                return
        operation = queue.operations.popleft()
        if operation.cost_ms and self.faults.hit_run():
            for other in self._queues:
                other.operations.clear()
            return
        self.now_ms += operation.cost_ms
        operation.run()
