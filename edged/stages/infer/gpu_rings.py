# SPDX-License-Identifier: Apache-2.0
"""The rings as the GPU sees them: page-locked in place, or not at all."""

from __future__ import annotations

from typing import NamedTuple

from edged.errors import InternalError
from edged.gpu.api import Gpu, RegisteredHost
from edged.gpu.errors import CudaError, GpuLostError

IO_MODES = ("auto", "copy", "mapped", "staged")


class RingMemory(NamedTuple):
    """The mapping of a ring in this process: a name for messages, where it starts, bytes."""

    name: str
    address: int
    size: int


class PageLockedRings:
    """Page-locks rings, and says how data then moves.

    Args:
        gpu: the device.
        rings: all that exist now.
        wish: ``engine.io`` of the settings.

    Attributes:
        io: ``copy`` (the GPU copies from and to the rings), ``mapped`` (an integrated GPU reads them in place) or
            ``staged`` (page-locking was refused: one copy by the CPU into a buffer that is page-locked).
        refusal: why ``staged``; empty otherwise.
    """

    def __init__(self, gpu: Gpu, rings: list[RingMemory], wish: str) -> None:
        if wish not in IO_MODES:
            raise InternalError(f"io is {wish}, not one of {', '.join(IO_MODES)}", where="infer")
        self._gpu = gpu
        self._locked: dict[str, tuple[RingMemory, RegisteredHost]] = {}
        self.refusal = ""
        self.io = wish
        if wish == "auto":
            self.io = "mapped" if gpu.device.integrated else "copy"
        if self.io == "staged":
            self.refusal = "as the settings ask"
        elif not gpu.device.can_register:
            self._give_up("this device cannot page-lock memory that exists")
        try:
            for ring in rings:
                self.add(ring)
        except GpuLostError:
            self.close()
            raise

    def add(self, ring: RingMemory) -> None:
        """Page-lock one more ring; if that is refused, everything goes through buffers from now on.

        Raises:
            GpuLostError: not refused, but the GPU is gone.
        """
        if self.io == "staged":
            return
        try:
            locked = self._gpu.register(ring.name, ring.address, ring.size, mapped=self.io == "mapped")
        except GpuLostError:
            raise
        except CudaError as error:
            self._give_up(str(error))
            return
        self._locked[ring.name] = (ring, locked)

    def remove(self, name: str) -> None:
        """Unlock a ring that no batch in flight uses."""
        if name in self._locked:
            self._locked.pop(name)[1].close()

    def device_address(self, address: int) -> int:
        """Where the device sees a ring's byte; only when mapped."""
        for ring, locked in self._locked.values():
            if ring.address <= address < ring.address + ring.size:
                return locked.device_address + address - ring.address
        raise InternalError(f"address {address:#x} lies in no ring that is page-locked", where="infer")

    def close(self) -> None:
        """Unlock all rings."""
        while self._locked:
            self._locked.popitem()[1][1].close()

    def _give_up(self, why: str) -> None:
        # Rings that are locked already stay so: batches in flight may use them.
        self.io = "staged"
        self.refusal = why
