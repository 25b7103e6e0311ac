# SPDX-License-Identifier: Apache-2.0
"""Failures on demand."""

from __future__ import annotations

from collections import Counter

from edged.gpu.calls import failure
from edged.gpu.codes import ILLEGAL_ADDRESS, STICKY
from edged.gpu.errors import GpuLostError

CALLS = (
    "memory",
    "stream",
    "event",
    "device_buffer",
    "host_buffer",
    "register",
    "capture",
    "instantiate",
    "copy_in",
    "copy_out",
    "record",
    "wait_event",
    "query",
    "synchronize",
    "launch",
    "context",
    "use_memory",
    "use_profile",
    "set_shape",
    "bind",
    "enqueue",
)
"""Calls that can fail; ``run`` besides: an operation that fails on the device, which a later call brings to light."""


class Faults:
    """Counts calls by name and lets chosen ones fail."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lost = 0
        self._planned: dict[tuple[str, int], int | Exception] = {}

    def plan(self, call: str, nth: int, error: int | Exception) -> None:
        """Have the ``nth`` use of a call from now on (from 1) fail with a driver's error number or an exception."""
        if call not in CALLS and call != "run":
            raise ValueError(f"no call is named {call}")
        if call == "run" and error not in STICKY:
            raise ValueError("what fails on the device costs the GPU: give the number of a sticky error")
        self._planned[(call, self.counts[call] + nth)] = error

    def hit(self, call: str, doing: str) -> None:
        """Count a call; raises what was planned for it, and always once the GPU is lost."""
        self.raise_if_lost(doing)
        error = self._count(call)
        if error is not None:
            if not isinstance(error, Exception):
                if error in STICKY:
                    self.lost = error
                error = failure(error, doing)
            elif isinstance(error, GpuLostError):
                self.lost = error.code or ILLEGAL_ADDRESS
            raise error

    def hit_run(self) -> bool:
        """Count an operation on the device; tells whether it fails, which is the end of the GPU."""
        error = self._count("run")
        if error is None:
            return False
        self.lost = int(error) if isinstance(error, int) else ILLEGAL_ADDRESS
        return True

    def raise_if_lost(self, doing: str) -> None:
        """Raise if an earlier operation cost the GPU."""
        if self.lost:
            raise failure(self.lost, doing)

    def _count(self, call: str) -> int | Exception | None:
        self.counts[call] += 1
        return self._planned.pop((call, self.counts[call]), None)
