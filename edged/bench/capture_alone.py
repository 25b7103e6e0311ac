# SPDX-License-Identifier: Apache-2.0
"""Capture alone: the daemon's own capture processes, with somebody behind them who takes every frame at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edged.bench.subject import Subject
from edged.bench.workload import Workload, setup_settings
from edged.messages import ModelRef
from edged.rig.rounds import Stop
from edged.runtime import briefing
from edged.runtime.channel import ChannelClosedError
from edged.runtime.launch import ProcessLauncher
from edged.runtime.members import Member
from edged.runtime.plans import OutputPlan
from edged.runtime.rings import Rings
from edged.runtime.setup import resolve
from edged.shm.frame_table import FrameTable

_START_S = 20.0
_SETTLE_S = 0.3
_LOOK_S = 0.05
_END_S = 2.0


def capture_alone(subject: Subject, work: Workload, seconds: float, stop: Stop) -> float | None:
    """Frames a second of all sources together; None where nothing came, or a stop was asked for.

    Call from the main thread: children are started.
    """
    setup = resolve(setup_settings(subject, work))
    height, width = subject.prepared.input_size
    engine = subject.engine
    plan = OutputPlan(slots=subject.slots + 2, max_batch=subject.usual, tensors=tuple(subject.prepared.outputs))
    model = ModelRef(id=subject.model.id, engine=engine.key, backend=engine.backend, precision=engine.precision)
    found = briefing.Prepared(
        engine=engine,
        model=model,
        labels=[],
        input_size=(height, width),
        outputs=plan,
        max_delay_ns=0,
        fixed_batch=subject.prepared.fixed_batch,
        reference=subject.prepared.path,
    )
    rings = briefing.make_rings(setup, found)
    launcher = ProcessLauncher()
    members = [Member("capture", source.settings.name, index) for index, source in enumerate(setup.sources)]
    try:
        for member in members:
            member.running = launcher.start(member.role, member.name)
            briefing.brief(member, setup, found, rings, "bench")
        first = _taken(rings, members, _START_S, stop, enough=1)
        if not first or stop():
            return None
        _taken(rings, members, _SETTLE_S, stop)
        begin = time.monotonic()
        count = _taken(rings, members, seconds, stop)
        took = time.monotonic() - begin
        return None if stop() else count / took
    finally:
        _end(members, rings)


def _taken(rings: Rings, members: Sequence[Member], seconds: float, stop: Stop, enough: int = 0) -> int:
    """Take frames for a time, or until there are enough; returns how many."""
    count, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stop():
        rings.wake_infer.wait(min(left, _LOOK_S))
        for index, table in enumerate(rings.frames):
            taken = _empty(table)
            count += taken
            if taken:
                rings.spaces[index].set()
        if enough and (count >= enough or all(_gone(member) for member in members)):
            break
    return count


def _empty(table: FrameTable) -> int:
    taken = table.take(table.ready())
    table.release([frame.slot for frame in taken])
    return len(taken)


def _gone(member: Member) -> bool:
    """Whether a child has ended; reads what it has to say, which nobody needs."""
    if member.running is None:
        return True
    try:
        while member.running[1].receive() is not None:
            continue
    except ChannelClosedError:
        return True
    return False


def _end(members: Sequence[Member], rings: Rings) -> None:
    for member in members:
        member.tell("stop")
    rings.wake_all()
    for member in members:
        if member.running is None:
            continue
        handle, channel = member.running
        if handle.wait(_END_S) is None:
            handle.kill()
            handle.wait(_END_S)
        channel.close()
    rings.close()
