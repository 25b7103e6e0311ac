# SPDX-License-Identifier: Apache-2.0
"""What edged is compared with: a batch that closes when it is full or its oldest frame has waited a fixed time."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from edged.records import Ready
from edged.stages.collate.policy import Decision, Pick, SourcePolicy


@dataclass
class FixedWindow:
    """First come, first served, in windows of a fixed time; frames too old by the batch's cost are dropped here too."""

    sources: Sequence[SourcePolicy]
    max_batch: int
    window_ns: int

    def decide(
        self,
        now_ns: int,
        waiting: Mapping[int, Sequence[Ready]],
        cost_ns: Callable[[int], int],
        ended: Container[int] = (),  # noqa: ARG002 - a fixed window knows nothing of sources
        free_ns: int = 0,
        lead_ns: int = 0,  # noqa: ARG002 - nor of the device
    ) -> Decision:
        """As `Collator.decide`."""
        queue = sorted(
            (Pick(source, frame) for source, frames in waiting.items() for frame in frames),
            key=lambda pick: pick.frame.ready_ns,
        )
        latest_ns = max(now_ns, free_ns) + cost_ns(min(len(queue), self.max_batch))
        limits = [policy.max_age_ns for policy in self.sources]
        stale = [
            pick
            for pick in queue
            if (limit := limits[pick.source]) is not None and latest_ns - pick.frame.captured_ns > limit
        ]
        fresh = [pick for pick in queue if pick not in stale] if stale else queue
        if not fresh:
            return Decision([], stale, None)
        due_ns = fresh[0].frame.ready_ns + self.window_ns
        if len(fresh) >= self.max_batch or now_ns >= due_ns:
            return Decision(fresh[: self.max_batch], stale, None)
        return Decision([], stale, due_ns)
