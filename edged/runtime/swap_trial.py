# SPDX-License-Identifier: Apache-2.0
"""Whether a new engine is good: what three processes share while it is tried on live frames, and the verdict."""

from __future__ import annotations

from statistics import fmean
from typing import NamedTuple

from edged.runtime.briefing import Prepared
from edged.runtime.verify import DEFAULT_BOUND
from edged.shm.sample import Sample
from edged.shm.wake import Wake

FRAMES = 16
"""So many live frames are compared."""
FEWEST = 4
"""So many are enough where no more came in time."""


class TrialRings:
    """Shared memory and wake-ups of one trial.

    Args:
        frame_bytes: of the largest frame.
        found: what runs.
    """

    def __init__(self, frame_bytes: int, found: Prepared) -> None:
        self.ours = Sample.create(frame_bytes, found.outputs.tensors)
        self.theirs = Sample.create(0, found.outputs.tensors)
        self.wake_candidate, self.wake_judge, self.baton = Wake(), Wake(), Wake()

    @property
    def for_running(self) -> tuple[int, ...]:
        """Descriptors for the engine that runs."""
        return self.ours.region.fd, self.wake_candidate.fd

    @property
    def for_candidate(self) -> tuple[int, ...]:
        """Descriptors for the new one."""
        samples = self.ours.region.fd, self.theirs.region.fd
        return (*samples, self.wake_candidate.fd, self.wake_judge.fd, self.baton.fd)

    @property
    def for_judge(self) -> tuple[int, ...]:
        """Descriptors for the judge."""
        return self.ours.region.fd, self.theirs.region.fd, self.wake_judge.fd, self.wake_candidate.fd

    def close(self) -> None:
        """Let go of everything."""
        self.ours.close()
        self.theirs.close()
        for wake in (self.wake_candidate, self.wake_judge, self.baton):
            wake.close()


class Verdict(NamedTuple):
    """What the comparison came to.

    Attributes:
        mean: points of agreement, of the frames in which either engine found something; 100 where there is none.
        frames: compared.
        bound: points that were asked for.
    """

    mean: float
    frames: int
    bound: float

    @property
    def good(self) -> bool:
        """Whether the new engine may take over."""
        return self.frames >= FEWEST and self.mean >= self.bound


class Comparison:
    """Gathers what the judge says.

    Args:
        running: the engine that runs.
        candidate: the new one.
    """

    def __init__(self, running: Prepared, candidate: Prepared) -> None:
        self._points: list[float] = []
        self.frames = 0
        self.bound = _bound(running, candidate)

    def add(self, points: float, empty: bool) -> None:
        """One frame more."""
        self.frames += 1
        if not empty:
            self._points.append(points)

    @property
    def verdict(self) -> Verdict:
        """As it stands."""
        return Verdict(round(fmean(self._points), 3) if self._points else 100.0, self.frames, self.bound)


def _bound(running: Prepared, candidate: Prepared) -> float:
    """Points of agreement to ask for.

    Each engine may differ from FP32 by what its build allowed; two that do so in opposite directions differ by both.
    """
    allowed = 0.0
    for each in (running, candidate):
        bound = each.engine.agreement_bound
        exact = each.engine.path == each.reference or each.engine.precision == "fp32"
        allowed += 0.0 if exact else 100.0 - (DEFAULT_BOUND if bound is None else bound)
    return max(0.0, 100.0 - max(allowed, 100.0 - DEFAULT_BOUND))
