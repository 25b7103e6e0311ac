# SPDX-License-Identifier: Apache-2.0
"""The infer process while it runs: sources come and go, another engine is tried beside it, and takes over."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from edged.runtime.channel import Note
from edged.runtime.control import Control
from edged.runtime.open_executor import Opened, ring_name
from edged.runtime.plans import InferPlan, SourcePlan
from edged.shm.board import HANDED_OVER, HANDED_OVER_NS, Row
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputTable
from edged.shm.pixels import FramePixels
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.wake import Wake
from edged.stages.collate.policy import SourcePolicy
from edged.stages.infer.loop import Decide, InferLoop
from edged.stages.infer.pipeline import SlotPipeline, Source
from edged.stages.infer.shadow import Candidate, Exhibit, Shadow

_DRAIN_S = 1.0
_LOOK_S = 0.1
_LONGEST_WAIT_S = 0.5


class LiveInfer:
    """Serves what the supervisor says while batches run; changes come between two batches.

    Args:
        plan: of this process.
        control: to the supervisor.
        opened: the engine.
        loop: over it.
        pipeline: the loop's.
        decide: makes a batching policy for sources, by seat.
        outputs: the output ring.
        row: infer's row of the board.
        sources: what the loop began with, by seat.
        policies: likewise.
    """

    def __init__(
        self,
        plan: InferPlan,
        control: Control,
        opened: Opened,
        loop: InferLoop,
        pipeline: SlotPipeline,
        decide: Callable[[Mapping[int, SourcePolicy]], Decide],
        outputs: OutputTable,
        row: Row,
        sources: Mapping[int, Source],
        policies: Mapping[int, SourcePolicy],
    ) -> None:
        self._plan = plan
        self._control = control
        self._opened = opened
        self._loop = loop
        self._pipeline = pipeline
        self._decide = decide
        self._outputs = outputs
        self._row = row
        self._sources, self._policies = dict(sources), dict(policies)
        self._running = not plan.candidate
        self._leaving: set[int] = set()
        self._baton: Wake | None = None
        self._shadow: Shadow | None = None
        self._candidate: Candidate | None = None
        self._trial_wake: Wake | None = None
        self._yielding = False
        self._does: dict[str, Callable[[Note], None]] = {
            "source": self._add,
            "policy": self._change,
            "remove": self._remove,
            "shadow": self._begin_shadow,
            "shadow-over": self._end_shadow,
            "trial": self._begin_trial,
            "trial-over": self._end_trial,
            "yield": self._yield,
            "resume": self._resume,
        }
        control.on_note = self._take

    def run(self) -> None:
        """Work until told to stop; then deliver what was submitted."""
        while not self._control.should_stop():
            if self._running:
                self._infer()
            else:
                self._stand_by()
        if self._running:
            self._loop.drain(_DRAIN_S)

    def _infer(self) -> None:
        """Infer until told to stop or to hand over."""
        self._loop.forget()
        self._loop.run(self._interrupted)
        if not self._yielding:
            return
        while not self._loop.drain(_LONGEST_WAIT_S):
            if self._control.should_stop():
                return
        if self._baton is None:
            return  # it was told to go on meanwhile
        self._yielding = self._running = False
        # In this order: whoever finds this process dead knows from the word whether all was delivered.
        self._row.set_word(HANDED_OVER_NS, time.monotonic_ns())
        self._row.set_word(HANDED_OVER, self._plan.generation + 1)
        self._baton.set()
        self._drop_baton()

    def _interrupted(self) -> bool:
        stop = self._control.should_stop()
        if self._leaving:
            self._see_off()
        return stop or self._yielding

    # standing by -----------------------------------------------------------------------------------------------------

    def _stand_by(self) -> None:
        """Wait for the baton, for a frame to try the engine on, or for word of the supervisor."""
        poller = select.poll()
        poller.register(self._control.fileno(), select.POLLIN)
        for wake in (self._baton, self._trial_wake):
            if wake is not None:
                poller.register(wake.fd, select.POLLIN)
        poller.poll((_LOOK_S if self._candidate is not None else _LONGEST_WAIT_S) * 1000)
        if self._leaving:
            self._see_off()
        if self._baton is not None and self._baton.clear():
            self._begin()
        elif self._candidate is not None and self._trial_wake is not None:
            self._trial_wake.clear()
            self._candidate.infer_next()

    def _begin(self) -> None:
        self._end_trial()
        self._drop_baton()
        self._running = True
        took_ns = time.monotonic_ns() - self._row.word(HANDED_OVER_NS)
        self._control.tell("active", {"generation": self._plan.generation, "took_ns": took_ns})

    def _resume(self, note: Note) -> None:
        """The next one has failed: go on."""
        _close(note.fds)
        self._drop_baton()
        self._yielding = False
        self._row.set_word(HANDED_OVER, 0)
        self._running = True

    def _yield(self, note: Note) -> None:
        self._drop_baton()
        self._end_shadow()
        self._baton = Wake(note.fds[0])
        self._yielding = self._running

    def _drop_baton(self) -> None:
        if self._baton is not None:
            self._baton.close()
            self._baton = None

    # trying an engine ------------------------------------------------------------------------------------------------

    def _begin_shadow(self, note: Note) -> None:
        self._end_shadow()
        ours, wake = note.fds
        exhibit = Exhibit.of(Sample(Region(ours)), self._plan.outputs.tensors)
        self._shadow = Shadow(self._pipeline, self._outputs, exhibit, Wake(wake))
        self._pipeline.tap = self._shadow

    def _end_shadow(self, _note: Note | None = None) -> None:
        self._pipeline.tap = None
        if self._shadow is not None:
            self._shadow.close()
            self._shadow = None

    def _begin_trial(self, note: Note) -> None:
        ours_fd, theirs_fd, wake, judge, baton = note.fds
        tensors = self._plan.outputs.tensors
        ours, theirs = (Exhibit.of(Sample(Region(fd)), tensors) for fd in (ours_fd, theirs_fd))
        self._opened.lock("trial frame", ours.sample.region)
        self._opened.lock("trial outputs", theirs.sample.region)
        self._candidate = Candidate(self._opened.executor, tensors, ours, theirs, Wake(judge))
        self._trial_wake, self._baton = Wake(wake), Wake(baton)

    def _end_trial(self, _note: Note | None = None) -> None:
        if self._candidate is not None:
            for name in ("trial frame", "trial outputs"):
                self._opened.unlock(name)
            self._candidate.close()
            self._candidate = None
        if self._trial_wake is not None:
            self._trial_wake.close()
            self._trial_wake = None

    # sources ---------------------------------------------------------------------------------------------------------

    def _take(self, note: Note) -> None:
        act = self._does.get(note.kind)
        if act is None:
            _close(note.fds)
        else:
            act(note)

    def _add(self, note: Note) -> None:
        seat, source, policy = source_of(note)
        self._opened.lock(ring_name(seat), source.table.region)
        self._sources[seat] = source
        self._loop.add(seat, source)
        self._set_policy(seat, policy)
        self._control.tell("added", {"seat": seat, "io": self._opened.executor.io})

    def _change(self, note: Note) -> None:
        plan = msgspec.convert(note.body, SourcePlan)
        if plan.seat in self._sources:
            self._set_policy(plan.seat, SourcePolicy(plan.max_age_ns, plan.priority))

    def _set_policy(self, seat: int, policy: SourcePolicy | None) -> None:
        # The new policy has to learn the sources' rhythms again, which takes it two frames of each.
        if policy is None:
            del self._policies[seat]
        else:
            self._policies[seat] = policy
        self._loop.decide_with(self._decide(self._policies))

    def _remove(self, note: Note) -> None:
        seat = int(note.body["seat"])
        if seat in self._sources:
            self._loop.retire(seat)
            self._leaving.add(seat)
        else:
            self._control.tell("removed", {"seat": seat})

    def _see_off(self) -> None:
        """Let go of sources that leave, as far as no batch holds frames of theirs any more."""
        for seat in sorted(self._leaving):
            if not self._loop.remove(seat):
                continue
            self._leaving.discard(seat)
            self._set_policy(seat, None)
            self._opened.unlock(ring_name(seat))
            source = self._sources.pop(seat)
            source.table.close()
            os.close(source.wake_writer)
            self._control.tell("removed", {"seat": seat})


def source_of(note: Note) -> tuple[int, Source, SourcePolicy]:
    """A source's seat, ring and policy from the supervisor's note."""
    plan = msgspec.convert(note.body, SourcePlan)
    frames, space = note.fds
    table = FrameTable(Region(frames))
    return plan.seat, Source(table, FramePixels(table), space), SourcePolicy(plan.max_age_ns, plan.priority)


def _close(fds: list[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
