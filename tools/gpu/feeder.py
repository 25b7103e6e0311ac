# SPDX-License-Identifier: Apache-2.0
"""The other processes around a measured infer loop: captures, a publisher, and busy ones. Ended by being killed.

python -m tools.gpu.feeder capture JSON PARENT     keeps frame rings full
python -m tools.gpu.feeder publish JSON PARENT     empties the output ring
python -m tools.gpu.feeder busy {} PARENT          computes for ever
"""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

from edged.parent import tie_to_parent
from edged.records import FrameRecord, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.region import Region
from edged.shm.wake import Wake

_WAIT_S = 1.0


def capture(told: dict[str, Any]) -> None:
    """Fill rings as soon as there is space in them; frames are what lies in the ring.

    Args:
        told: ``rings`` [[ring, wake-up for space], …] and ``wake`` of infer, descriptors; ``size`` height, width.
    """
    height, width = told["size"]
    record = FrameRecord(0, 0, 1, 2, width, height, width, height)
    infer, poller, rings = Wake(told["wake"]), select.poll(), {}
    for ring, space in told["rings"]:
        rings[space] = (FrameTable(Region(ring)), Wake(space))
        poller.register(space, select.POLLIN)
    while True:
        moved = False
        for table, space in rings.values():
            space.clear()
            while (slot := table.acquire()) is not None:
                table.commit(slot, record, time.monotonic_ns())
                moved = True
        if moved:
            infer.set()
        poller.poll(_WAIT_S * 1000)


def publish(told: dict[str, Any]) -> None:
    """Free what lies in the output ring.

    Args:
        told: ``ring``, ``wake`` (its own) and ``infer``, descriptors; ``layout`` slots, batch, tensors.
    """
    slots, batch, tensors = told["layout"]
    specs = tuple(TensorSpec(name, dtype, tuple(shape), fixed) for name, dtype, shape, fixed in tensors)
    table = OutputTable(Region(told["ring"]), OutputLayout(slots, batch, specs))
    wake, infer = Wake(told["wake"]), Wake(told["infer"])
    while True:
        while (slot := table.oldest()) is not None:
            table.release(slot)
            infer.set()
        wake.wait(_WAIT_S)


def busy(_told: dict[str, Any]) -> None:
    """Keep a core busy."""
    while True:
        sum(range(100_000))


def main() -> None:
    """Play the part that the command line names, until killed; not beyond the life of whoever started this."""
    tie_to_parent(int(sys.argv[3]))
    parts = {"capture": capture, "publish": publish, "busy": busy}
    parts[sys.argv[1]](json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
