# SPDX-License-Identifier: Apache-2.0
"""The children that a swap of engines takes, and what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edged.engine.store import CURRENT_FILE, model_folder
from edged.runtime import briefing
from edged.runtime.briefing import Prepared
from edged.runtime.family import Family
from edged.runtime.members import Member
from edged.runtime.plans import JudgePlan, plain
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup
from edged.runtime.swap_trial import TrialRings
from edged.shm.board import HANDED_OVER, INFER_ROW

_SEND_S = 1.0


class Place(NamedTuple):
    """Where changes take place: the daemon's settings, shared memory, family, and its boot id."""

    setup: Setup
    rings: Rings
    family: Family
    boot: str


class SwapCrew:
    """Starts, tells and ends the children of swaps.

    Args:
        place: where.
        infer: the process that infers.
        publish: the process that publishes.

    Attributes:
        chooser: says which engine is to run.
        candidate: loads it; after the hand-over, the process of the old one.
        judge: compares the two.
    """

    def __init__(self, place: Place, infer: Member, publish: Member) -> None:
        self._place, self._infer, self._publish = place, infer, publish
        self.chooser = Member("prepare", "engine")
        self.candidate = Member("infer", "candidate")
        self.judge = Member("judge", "engine")
        self.members = [self.chooser, self.candidate, self.judge]
        self._trial: TrialRings | None = None

    @property
    def at_home(self) -> bool:
        """Whether none of them runs."""
        return all(member.running is None for member in self.members)

    def choose(self, key: str = "") -> None:
        """Have somebody look which engine is to run: one with a key, or the one that the settings ask for."""
        self._place.family.launch(self.chooser)
        plan = briefing.prepare_plan(self._place.setup, look_again=True, key=key)
        self.chooser.tell("configure", plan, wait_s=_SEND_S)

    def load(self, found: Prepared) -> None:
        """Have an engine loaded beside the one that runs."""
        setup, rings, family, boot = self._place
        family.launch(self.candidate)
        briefing.brief(self.candidate, setup, found, rings, boot, candidate=True)

    def compare(self, running: Prepared, found: Prepared) -> None:
        """Have it infer copies of live frames, and compare."""
        setup, rings, family, _ = self._place
        self._trial = TrialRings(rings.frame_bytes, running)
        family.launch(self.judge)
        plan = JudgePlan(tensors=running.outputs.tensors, postprocess=briefing.postprocess_plan(setup, found))
        self.judge.tell("configure", plain(plan), self._trial.for_judge, wait_s=_SEND_S)
        self.candidate.tell("trial", None, self._trial.for_candidate, wait_s=_SEND_S)
        self._infer.tell("shadow", None, self._trial.for_running, wait_s=_SEND_S)
        rings.wake_infer.set()

    def name(self, found: Prepared) -> None:
        """Have publish know whose results it is going to find."""
        self._publish.tell("model", {"generation": found.generation, "model": plain(found.model)}, wait_s=_SEND_S)
        self._place.rings.wake_publish.set()

    def hand_over(self) -> None:
        """Have the engine that runs give way to the other one."""
        assert self._trial is not None
        self.tell_infer("yield", (self._trial.baton.fd,))

    def push(self) -> None:
        """The one that was to hand over is gone."""
        if self._trial is not None:
            self._trial.baton.set()

    def handed_over(self, running: Prepared) -> bool:
        """Whether the engine that runs has delivered all it had: whatever is taken is the new one's."""
        return self._place.rings.board.row(INFER_ROW).word(HANDED_OVER) == running.generation + 1

    def tell_infer(self, kind: str, fds: tuple[int, ...] = ()) -> None:
        """Tell the process that infers, and wake it."""
        self._infer.tell(kind, None, fds, wait_s=_SEND_S)
        self._place.rings.wake_infer.set()

    def exchange(self) -> None:
        """The candidate's process becomes the one that infers, and the other way round."""
        self._place.family.exchange(self._infer, self.candidate)

    def dismiss(self, member: Member) -> None:
        """End a child that holds nothing of anybody's; that it is gone is heard later."""
        if member.running is not None:
            member.tell("stop")
            member.running[0].kill()

    def close_trial(self) -> None:
        """Let go of what was shared for a trial."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None


def store_mark(setup: Setup) -> tuple[int, ...]:
    """Changes whenever another engine becomes current."""
    try:
        found = Path(model_folder(setup.settings.daemon.state_dir, setup.spec.id), CURRENT_FILE).stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size


def named(found: Prepared) -> str:
    """An engine, in words."""
    engine = found.engine
    return f"engine {engine.key[:16]} ({engine.backend} {engine.precision})"
