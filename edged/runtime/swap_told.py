# SPDX-License-Identifier: Apache-2.0
"""The events of a swap of engines, in words and figures."""

from __future__ import annotations

from edged.runtime.briefing import Prepared
from edged.runtime.swap_crew import named
from edged.runtime.swap_trial import Verdict
from edged.runtime.verify import Announce, Data


class SwapNews:
    """Announces what becomes of swaps.

    Args:
        announce: logs and publishes an event.
    """

    def __init__(self, announce: Announce) -> None:
        self._announce = announce

    def swapped(self, old: Prepared, new: Prepared, verdict: Verdict, hand_over_ns: int | None) -> None:
        """One took over from another.

        Args:
            old: ran before.
            new: runs now.
            verdict: how far the two agreed.
            hand_over_ns: how long none of them inferred; None where the old one was gone.
        """
        data: Data = {"from": old.engine.key, **_facts(new), "points": verdict.mean}
        if hand_over_ns is not None:
            data["hand_over_ms"] = round(hand_over_ns / 1e6, 3)
        agreed = f"agreed to {verdict.mean:.1f} points over {verdict.frames} live frames"
        self._announce("engine-swapped", "", "info", f"{named(new)} took over; {agreed}", data)

    def gap_begins(self, new: Prepared) -> None:
        """The one that runs has to end first."""
        text = f"memory does not hold two engines: the one that runs ends before {named(new)} is loaded"
        self._announce("engine-swap-gap", "", "warning", f"{text}; nothing is published meanwhile")

    def gap_ends(self, new: Prepared, gap_s: float) -> None:
        """After so many seconds one runs again."""
        text = f"{named(new)} took over after a gap of {gap_s:.2f} s"
        self._announce("engine-swapped", "", "info", text, {**_facts(new), "gap_ms": round(gap_s * 1e3, 1)})

    def failed(self, new: Prepared | None, runs: Prepared, why: str) -> None:
        """One does not take over; None where it is not even known which."""
        name = "another engine" if new is None else named(new)
        data: Data = {} if new is None else {"engine": new.engine.key}
        text = f"{name} does not take over: {why}; {named(runs)} runs on"
        self._announce("engine-swap-failed", "", "error", text, data)

    def rolled_back(self, new: Prepared, old: Prepared, why: str) -> None:
        """One that had taken over is no good."""
        text = f"{named(new)} failed: {why}; {named(old)} goes on"
        self._announce("engine-rolled-back", "", "error", text, {"engine": new.engine.key})


def disagreement(verdict: Verdict) -> str:
    """Why an engine is not taken that does not agree with the one that runs."""
    points = f"{verdict.mean:.1f} points over {verdict.frames} live frames, {verdict.bound:.1f} are asked for"
    return f"it does not agree with the engine that runs: {points}"


def _facts(found: Prepared) -> Data:
    engine = found.engine
    return {"engine": engine.key, "backend": engine.backend, "precision": engine.precision}
