# SPDX-License-Identifier: Apache-2.0
"""Where a swap of engines is, and the ways back from there; the way forward is in `edged.runtime.swap`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from edged.engine.memory import is_shortage, kills_for_memory
from edged.runtime.briefing import Prepared
from edged.runtime.members import Member
from edged.runtime.swap_crew import Place, SwapCrew
from edged.runtime.swap_told import SwapNews
from edged.runtime.swap_trial import Comparison
from edged.runtime.swap_wish import Wish
from edged.runtime.verify import Announce

_AGAIN_S = 10.0

State = Literal[
    "idle", "choosing", "loading", "checking", "naming", "yielding", "probation", "gap-ending", "gap-loading"
]


class SwapCourse:
    """The state of a swap, and what ends it.

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
        state: see `edged.runtime.swap`.
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
        self._news, self._adopt, self._repair = SwapNews(announce), adopt, repair
        self.state: State = "idle"
        self._since_s = 0.0
        self._wish = Wish(place.setup, store)
        self._killed_before: int | None = None
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
        return self._wish.look_at

    def owns(self, member: Member) -> bool:
        """Whether a child is here for the sake of a swap."""
        return any(member is each for each in self._crew.members)

    def _enter(self, state: State) -> None:
        self.state, self._since_s = state, time.monotonic()

    # with a gap ------------------------------------------------------------------------------------------------------

    def _swap_with_gap(self) -> None:
        self._news.gap_begins(self._next)
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
            self._enter("idle")
            self._news.gap_ends(self.found, gap_s)

    # back ------------------------------------------------------------------------------------------------------------

    def _fail(self, why: str) -> None:
        """The old engine runs on; the new one is not tried again before somebody asks."""
        new = None if self.state == "choosing" else self._next
        if new is not None:
            self._wish.refused.add(new.engine.key)
        self._back()
        self._news.failed(new, self.found, why)

    def _give_up(self) -> None:
        """Not now, but soon."""
        self._back()
        self._wish.again_in(_AGAIN_S)

    def _back(self) -> None:
        yielding = self.state == "yielding"
        if yielding and self._infer.running is None:
            self._infer.start_at = time.monotonic()
        self._enter("idle")
        for member in self._crew.members:
            self._crew.dismiss(member)
        self._crew.tell_infer("resume" if yielding else "shadow-over")
        self._crew.close_trial()

    # how children end -------------------------------------------------------------------------------------------------

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
        self._wish.refused.add(self.found.engine.key)
        self._enter("idle")
        self._news.rolled_back(self.found, self._before, why)
        return self._before
