# SPDX-License-Identifier: Apache-2.0
"""The device of a simulation: what a batch costs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tools.simulate.feeds import NS

_LEAST = 0.5
"""However noisy, a batch takes at least this share of its time."""


class Device(NamedTuple):
    """One batch at a time, in order.

    Attributes:
        cost_ns: of 1, 2, … frames; the last is the largest batch.
        slots: batches that may be submitted at a time.
        host_ns: from closing a batch until the device can begin with it.
        noise: standard deviation of a batch's time, as a share of it.
    """

    cost_ns: tuple[int, ...]
    slots: int = 2
    host_ns: int = 200_000
    noise: float = 0.02

    @property
    def max_batch(self) -> int:
        """Most frames of a batch."""
        return len(self.cost_ns)

    @property
    def capacity_hz(self) -> float:
        """Frames a second in batches of the size that is best for that."""
        return max(count * NS / cost for count, cost in enumerate(self.cost_ns, 1))

    def of_capacity(self, hz: float) -> Device:
        """The same device, so much faster or slower that it has a certain capacity."""
        factor = self.capacity_hz / hz
        return self._replace(cost_ns=tuple(max(1, round(cost * factor)) for cost in self.cost_ns))

    def takes_ns(self, count: int, chance: random.Random) -> int:
        """What a batch takes this time."""
        return round(self.cost_ns[count - 1] * max(_LEAST, chance.gauss(1.0, self.noise)))


def linear(fixed: float, max_batch: int) -> Sequence[float]:
    """Costs of batches of 1, 2, … frames where each frame costs 1 and each batch ``fixed`` besides."""
    return [fixed + count for count in range(1, max_batch + 1)]
