# SPDX-License-Identifier: Apache-2.0
"""What runs, and what may come back, keeps its folder in the store."""

from __future__ import annotations

from pathlib import Path

from edged.engine.lease import Lease
from edged.runtime.briefing import Prepared

_KEPT = 2


class EngineHold:
    """Leases on the folder of the engine that runs and of the one before it."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []

    def take(self, found: Prepared) -> None:
        """An engine runs from now on, or is about to be loaded."""
        self._leases.append(Lease(Path(found.engine.path).parent))
        while len(self._leases) > _KEPT:
            self._leases.pop(0).close()

    def close(self) -> None:
        """Nothing runs any more."""
        while self._leases:
            self._leases.pop().close()
