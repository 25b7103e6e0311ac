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
import time
from collections.abc import Callable
from typing import Literal

from edged.engine.memory import is_shortage, kills_for_memory
from edged.errors import EdgedError
from edged.runtime import status
from edged.runtime.briefing import Prepared, next_engine
from edged.runtime.channel import Note
from edged.runtime.members import Member
from edged.runtime.swap_crew import Place, SwapCrew, named, store_mark
from edged.runtime.swap_trial import FRAMES, Comparison
from edged.runtime.verify import Announce, Data

_LOG = logging.getLogger("edged")
_LOOK_S = 0.5
_PROBATION_S = 5.0
_AGAIN_S = 10.0

State = Literal[
    "idle", "choosing", "loading", "checking", "naming", "yielding", "probation", "gap-ending", "gap-loading"
]
_LIMIT_S: dict[State, float] = {"choosing": 120.0, "loading": 300.0, "checking": 60.0, "naming": 5.0, "yielding": 5.0}
"""Longest time in a state, after which the old engine runs on."""


class EngineSwap:
    """Swaps engines.

    Args:
        place: where.
        infer: the process that infers.
        publish: the process that publishes.
        found: what runs.
        store: how the store stood before that was chosen, see `edged.runtime.swap_crew.store_mark`.
        announce: logs and publishes an event.
        adopt: told of what runs from now on, and of its way with memory.
        repair: puts in order what an infer process left in shared memory; only while no other one works there.

    Attributes:
        found: what runs.
        state: see above.
    """

    def __init__(
        self,
        place: Place,
        infer: Member,
        publish: Member,
        found: Prepared,
        store: tuple[int, ...],
        *,
        announce: Announce,
        adopt: Callable[[Prepared, str], None],
        repair: Callable[[], None],
    ) -> None:
        self._setup, self._infer, self._publish = place.setup, infer, publish
        self._crew = SwapCrew(place, infer, publish)
        self.found = self._next = found
        self._before: Prepared | None = None
        self._announce, self._adopt, self._repair = announce, adopt, repair
        self.state: State = "idle"
        self._since_s = self._look_at = 0.0
        self._mark = store
        self._wanted_again = False
        self._key: str | None = None
        self._killed_before: int | None = None
        self._refused: set[str] = set()
        self._generation = found.generation
        self._comparison = Comparison(found, found)
        self._io = ""

    @property
    def members(self) -> list[Member]:
        """The children of swaps, whether they run or not."""
        return self._crew.members

    @property
    def deadline(self) -> float:
        """When to look next (monotonic seconds)."""
        return self._look_at

    def owns(self, member: Member) -> bool:
        """Whether a child is here for the sake of a swap."""
        return any(member is each for each in self._crew.members)

    def ask(self) -> None:
        """Look at the store now, also at engines that were refused before."""
        self._wanted_again = self._wanted_again or bool(self._refused)
        self._refused.clear()
        self._look_at = 0.0

    def use(self, key: str | None) -> None:
        """Have another engine of the store take over, whatever the settings ask for; None for what they ask for."""
        if key != self._key:
            self._key, self._wanted_again = key, True
            self._look_at = 0.0

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
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        if self.state == "idle":
            mark = store_mark(self._setup)
            # What was dismissed has to be gone first.
            if self._crew.at_home and (mark != self._mark or self._wanted_again):
                self._mark, self._wanted_again = mark, False
                self._enter("choosing")
                self._crew.choose(self._key or "")
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

    def _enter(self, state: State) -> None:
        self.state, self._since_s = state, time.monotonic()

    # forward ---------------------------------------------------------------------------------------------------------

    def _take_choice(self, note: Note) -> None:
        try:
            found = next_engine(self._setup, self.found, note.body)
        except EdgedError as error:
            self._fail(str(error))
            return
        if found is None or found.engine.key in self._refused:
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
            points = f"{verdict.mean:.1f} points over {verdict.frames} live frames, {verdict.bound:.1f} are asked for"
            self._fail(f"it does not agree with the engine that runs: {points}")
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
        verdict = self._comparison.verdict
        data = {"from": old.engine.key, **self._facts(), "points": verdict.mean}
        if self._crew.candidate.running is not None:
            data["hand_over_ms"] = round(note.body["took_ns"] / 1e6, 3)
        agreed = f"agreed to {verdict.mean:.1f} points over {verdict.frames} live frames"
        self._announce("engine-swapped", "", "info", f"{named(self.found)} took over; {agreed}", data)
        self._enter("idle" if self._crew.candidate.running is None else "probation")

    def _facts(self) -> Data:
        engine = self.found.engine
        return {"engine": engine.key, "backend": engine.backend, "precision": engine.precision}

    def _end_probation(self) -> None:
        """The new engine is trusted: the old one goes."""
        self._crew.dismiss(self._crew.candidate)
        self._enter("idle")

    # with a gap ------------------------------------------------------------------------------------------------------

    def _swap_with_gap(self) -> None:
        text = f"memory does not hold two engines: the one that runs ends before {named(self._next)} is loaded"
        self._announce("engine-swap-gap", "", "warning", f"{text}; nothing is published meanwhile")
        self._enter("gap-ending")
        self._crew.tell_infer("stop")

    def _load_after_gap(self, found: Prepared) -> None:
        self.found = found
        self._adopt(found, "")
        self._crew.name(found)
        self._infer.start_at = time.monotonic()

    def infer_ready(self) -> None:
        """The infer process has loaded its engine."""
        if self.state == "gap-loading":
            gap_s = time.monotonic() - self._since_s
            text = f"{named(self.found)} took over after a gap of {gap_s:.2f} s"
            self._enter("idle")
            self._announce("engine-swapped", "", "info", text, {**self._facts(), "gap_ms": round(gap_s * 1e3, 1)})

    # back ------------------------------------------------------------------------------------------------------------

    def _fail(self, why: str) -> None:
        """The old engine runs on; the new one is not tried again before somebody asks."""
        name, data = "another engine", Data()
        if self.state != "choosing":
            self._refused.add(self._next.engine.key)
            name, data = named(self._next), {"engine": self._next.engine.key}
        self._back()
        text = f"{name} does not take over: {why}; {named(self.found)} runs on"
        self._announce("engine-swap-failed", "", "error", text, data)

    def _give_up(self) -> None:
        """Not now, but soon."""
        self._back()
        self._wanted_again, self._look_at = True, time.monotonic() + _AGAIN_S

    def _back(self) -> None:
        yielding = self.state == "yielding"
        if yielding and self._infer.running is None:
            self._infer.start_at = time.monotonic()
        self._enter("idle")
        for member in self._crew.members:
            self._crew.dismiss(member)
        self._crew.tell_infer("resume" if yielding else "shadow-over")
        self._crew.close_trial()

    # what children say, and how they end -----------------------------------------------------------------------------

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

    def died(self, member: Member, how: str) -> None:
        """A child of a swap is gone."""
        why = str(member.error) if member.error else f"its process {how}"
        if member is self._crew.chooser:
            if self.state == "choosing":
                self._fail(why)
        elif member is self._crew.judge:
            if self.state == "checking":
                self._fail(f"it cannot be compared: {why}")
        elif self.state == "loading" and self._lacks_memory(member):
            self._swap_with_gap()
        elif self.state in ("loading", "checking", "naming", "yielding"):
            if self.state == "yielding" and self._crew.handed_over(self.found):
                self._repair()
            self._fail(why)

    def _lacks_memory(self, member: Member) -> bool:
        """Whether a process that is gone went for want of memory, of the GPU or of the machine."""
        if member.error is not None:
            return is_shortage(member.error)
        return kills_for_memory() != self._killed_before

    def infer_died(self, how: str) -> bool:
        """The infer process is gone; whether what follows, repairs too, is seen to here.

        Args:
            how: it ended, in words.
        """
        if self.state == "yielding":
            if not self._crew.handed_over(self.found):
                self._repair()
            self._crew.push()
            return True
        if self.state == "gap-ending":
            self._repair()
            self._before = self.found
            self._enter("gap-loading")
            self._load_after_gap(self._next)
            return True
        why = str(self._infer.error) if self._infer.error else f"its process {how}"
        if self.state == "gap-loading":
            self._repair()
            self._load_after_gap(self._go_back(why))
            return True
        if self.state == "probation" and self._crew.candidate.running is not None:
            self._repair()
            self._crew.exchange()
            self._crew.tell_infer("resume")
            self.found = self._go_back(why)
            self._adopt(self.found, self._io)
            return True
        if self.state in ("loading", "checking", "naming"):
            self._give_up()
        return False

    def _go_back(self, why: str) -> Prepared:
        """The new engine is no good; returns what ran before."""
        assert self._before is not None
        self._refused.add(self.found.engine.key)
        self._enter("idle")
        text = f"{named(self.found)} failed: {why}; {named(self._before)} goes on"
        self._announce("engine-rolled-back", "", "error", text, {"engine": self.found.engine.key})
        return self._before

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
