# SPDX-License-Identifier: Apache-2.0
"""Memory of the accounting GPU."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edged.errors import InternalError
from edged.gpu.calls import failure
from edged.gpu.codes import ALREADY_REGISTERED
from edged.gpu.cuda_memory import bytes_at
from edged.gpu.fake.accounting import POISON, Block
from edged.gpu.fake.machine import Machine
from edged.gpu.inventory import Owned


class _Memory(Owned):
    """A block with an address; the block is given back at the end, which must not come too early."""

    _fading: ClassVar[tuple[str, ...]] = ("address",)

    def __init__(self, machine: Machine, kind: str, block: Block, address: int) -> None:
        self._machine = machine
        self._block = block
        self.address = address
        super().__init__(machine.inventory, kind, block.name, block.data.size)

    def _destroy(self) -> None:
        if self._machine.faults.lost:
            self._block.freed = True
        else:
            self._block.free(self._machine.host)


class FakeDeviceBuffer(_Memory):
    """Device memory: full of rubbish at first, as the real one."""

    def __init__(self, machine: Machine, name: str, size: int, kind: str = "device") -> None:
        block = Block(name, np.full(size, POISON, dtype=np.uint8))
        super().__init__(machine, kind, block, machine.space.add_device(block))


class _HostMemory(_Memory):
    _fading: ClassVar[tuple[str, ...]] = ("address", "_device_address")

    def __init__(self, machine: Machine, kind: str, block: Block, address: int, *, mapped: bool) -> None:
        machine.space.add_host(address, block)
        self._device_address = machine.space.add_device(block) if mapped else 0
        super().__init__(machine, kind, block, address)

    @property
    def device_address(self) -> int:
        """The memory as the device sees it."""
        if not self._device_address:
            raise InternalError(f"{self.name} was not made with mapped=True", where="gpu")
        return self._device_address


class FakeHostBuffer(_HostMemory):
    """Page-locked memory of its own."""

    _fading: ClassVar[tuple[str, ...]] = ("address", "_device_address", "array")

    def __init__(self, machine: Machine, name: str, size: int, *, mapped: bool) -> None:
        self.array = np.full(size, POISON, dtype=np.uint8)
        super().__init__(machine, "host", Block(name, self.array), self.array.ctypes.data, mapped=mapped)


class FakeRegisteredHost(_HostMemory):
    """Memory that existed before, page-locked."""

    def __init__(self, machine: Machine, name: str, address: int, size: int, *, mapped: bool) -> None:
        if machine.space.overlaps_host(address, size):
            raise failure(ALREADY_REGISTERED, f"page-locking the {size} bytes of {name}")
        super().__init__(machine, "registered", Block(name, bytes_at(address, size)), address, mapped=mapped)
