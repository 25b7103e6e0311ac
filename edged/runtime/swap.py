# SPDX-License-Identifier: Apache-2.0
"""Another engine takes over while frames are inferred.

    idle ─the store changed─▶ choosing ─another one─▶ loading ─warm─▶ checking ─agrees─▶ naming ─▶ yielding ─▶ probation
                                                         │ no memory beside the other
                                                         ▼
                                                    gap-ending ─▶ gap-loading

The new engine is loaded by a second infer process on the same rings. It infers copies of live frames and is compared
with the one that runs; then that one delivers what it has and hands over, at the end of a batch. It stands by for a few
seconds more, ready to go on. Whatever goes wrong on the way, the old engine runs on, and an event says why.

Where memory does not hold two engines the old one ends first: that is a gap, and an event says how long it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from edged.engine.memory import kills_for_memory
from edged.errors import EdgedError
from edged.runtime import status
from edged.runtime.briefing import next_engine
from edged.runtime.channel import Note
from edged.runtime.members import Member
from edged.runtime.swap_course import State, SwapCourse
from edged.runtime.swap_crew import named
from edged.runtime.swap_told import disagreement
from edged.runtime.swap_trial import FRAMES, Comparison

_LOG = logging.getLogger("edged")
_PROBATION_S = 5.0
_LIMIT_S: dict[State, float] = {"choosing": 120.0, "loading": 300.0, "checking": 60.0, "naming": 5.0, "yielding": 5.0}
"""Longest time in a state, after which the old engine runs on."""


class EngineSwap(SwapCourse):
    """Swaps engines; see `edged.runtime.swap_course.SwapCourse` for what it takes."""

    def ask(self) -> None:
        """Look at the store now, also at engines that were refused before."""
        self._wish.ask()

    def use(self, key: str | None) -> None:
        """Have another engine of the store take over, whatever the settings ask for; None for what they ask for."""
        self._wish.use(key)

    def put_off(self) -> bool:
        """The sources are about to change: no swap may be under way. False while it is past recall, for a moment."""
        if self.state in ("yielding", "gap-ending", "gap-loading"):
            return False
        if self.state == "probation":
            self._end_probation()
        elif self.state != "idle":
            self._give_up()
        return True

    # one look after the other ----------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Look at the store, and at how long things take."""
        if not self._wish.due(now):
            return
        if self.state == "idle":
            # What was dismissed has to be gone first.
            if self._crew.at_home and self._wish.take():
                self._enter("choosing")
                self._crew.choose(self._wish.key or "")
        elif self.state == "probation" and now - self._since_s >= _PROBATION_S:
            self._end_probation()
        elif now - self._since_s >= _LIMIT_S.get(self.state, float("inf")):
            self._too_long(_LIMIT_S[self.state])

    def _too_long(self, limit_s: float) -> None:
        if self.state == "yielding":
            # Perhaps the new one infers already: what follows is done when it is surely gone.
            self._crew.dismiss(self._crew.candidate)
        elif self.state != "checking":
            self._fail(f"{self.state} took more than {limit_s:g} s")
        elif self._comparison.frames:
            self._decide()
        else:
            self._fail(f"no live frame came to check it on within {limit_s:g} s")

    # forward ---------------------------------------------------------------------------------------------------------

    def _take_choice(self, note: Note) -> None:
        try:
            found = next_engine(self._setup, self.found, note.body)
        except EdgedError as error:
            self._fail(str(error))
            return
        if found is None or found.engine.key in self._wish.refused:
            self._enter("idle")
            return
        self._generation += 1
        self._next = found._replace(generation=self._generation)
        self._enter("loading")
        self._killed_before = kills_for_memory()
        _LOG.info("%s is loaded beside the engine that runs", named(self._next))
        self._crew.load(self._next)

    def _loaded(self, note: Note) -> None:
        status.log_remarks(note.body["remarks"])
        self._io = note.body["io"]
        self._comparison = Comparison(self.found, self._next)
        self._enter("checking")
        self._crew.compare(self.found, self._next)

    def _compared(self, note: Note) -> None:
        self._comparison.add(note.body["points"], note.body["empty"])
        if self._comparison.frames >= FRAMES:
            self._decide()

    def _decide(self) -> None:
        verdict = self._comparison.verdict
        if not verdict.good:
            self._fail(disagreement(verdict))
            return
        self._crew.dismiss(self._crew.judge)
        self._enter("naming")
        # Where publish is being replaced, the new one is told, see `briefed`.
        self._crew.name(self._next)

    def _named(self, note: Note) -> None:
        if note.body["generation"] == self._next.generation:
            self._enter("yielding")
            self._crew.hand_over()

    def _taken_over(self, note: Note) -> None:
        """The new engine infers."""
        self._crew.exchange()
        old, self._before, self.found = self.found, self.found, self._next
        self._adopt(self.found, self._io)
        self._crew.close_trial()
        hand_over_ns = None if self._crew.candidate.running is None else note.body["took_ns"]
        self._news.swapped(old, self.found, self._comparison.verdict, hand_over_ns)
        self._enter("idle" if self._crew.candidate.running is None else "probation")

    def _end_probation(self) -> None:
        """The new engine is trusted: the old one goes."""
        self._crew.dismiss(self._crew.candidate)
        self._enter("idle")

    # what children say ------------------------------------------------------------------------------------------------

    def take(self, member: Member, note: Note) -> None:
        """Take in what a child of a swap says, and what publish says of one."""
        if note.kind == "ready":
            member.ready = True
        acts: dict[tuple[str, State], Callable[[Note], None]] = {
            ("prepared", "choosing"): self._take_choice,
            ("ready", "loading"): self._loaded,
            ("compared", "checking"): self._compared,
            ("model", "naming"): self._named,
            ("active", "yielding"): self._taken_over,
        }
        act = acts.get((note.kind, self.state))
        if act is not None:
            act(note)

    def briefed(self, member: Member) -> None:
        """A new publish process: it has to know whose results lie in the ring."""
        if member is self._publish:
            if self._before is not None:
                self._crew.name(self._before)
            if self.state in ("naming", "yielding"):
                self._crew.name(self._next)

    def close(self) -> None:
        """Let go of everything."""
        self._crew.close_trial()
