# SPDX-License-Identifier: Apache-2.0
"""Who touched which bytes when, and whether anything put two touches in order.

Every actor (the host, each stream) counts its steps. A clock says how many steps of each actor are known to be over:
joining clocks is what events, stream order and waits do. An access at step *t* of actor *a* comes before another one
whose clock holds at least *t* for *a*; otherwise hardware may do them in either order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.gpu.errors import AccountingError

HOST = "the host"
POISON = 0xA5

Clock = dict[str, int]


def join(into: Clock, other: Clock) -> None:
    """Make ``into`` know all that ``other`` knows."""
    for actor, steps in other.items():
        if steps > into.get(actor, 0):
            into[actor] = steps


class _Access(NamedTuple):
    start: int
    end: int
    write: bool
    actor: str
    step: int
    what: str

    def known_to(self, clock: Clock) -> bool:
        return clock.get(self.actor, 0) >= self.step


class Block:
    """A piece of memory with its history.

    Attributes:
        name: what it is for.
        data: its bytes.
        freed: whether it was given back.
    """

    def __init__(self, name: str, data: NDArray[np.uint8]) -> None:
        self.name = name
        self.data = data
        self.freed = False
        self._accesses: list[_Access] = []

    def touch(self, start: int, end: int, *, write: bool, actor: str, clock: Clock, what: str) -> None:
        """Note an access to bytes ``start`` to ``end`` at the actor's step in ``clock``.

        Raises:
            AccountingError: the memory was given back, or an earlier access is not known to be over.
        """
        if self.freed:
            raise AccountingError(f"{what} uses {self.name} after it was given back", where=actor)
        access = _Access(start, end, write, actor, clock.get(actor, 0), what)
        kept = []
        for other in self._accesses:
            overlap = other.start < end and start < other.end
            known = other.known_to(clock)
            if overlap and not known and (write or other.write):
                raise AccountingError(_race(self.name, access, other), where=actor)
            covered = start <= other.start and other.end <= end
            if not (covered and known and (write or not other.write)):
                kept.append(other)
        kept.append(access)
        self._accesses = kept

    def free(self, clock: Clock) -> None:
        """Give the memory back; everything that touched it must be known to be over."""
        for other in self._accesses:
            if not other.known_to(clock):
                raise AccountingError(
                    f"{self.name} was given back although {other.what} ({other.actor}) may still use it", where=HOST
                )
        self.freed = True


def _race(name: str, now: _Access, earlier: _Access) -> str:
    verb = {True: "writes", False: "reads"}
    return (
        f"{now.what} ({now.actor}) {verb[now.write]} bytes {now.start} to {now.end} of {name}, "
        f"but nothing says that {earlier.what} ({earlier.actor}), which {verb[earlier.write]} "
        f"bytes {earlier.start} to {earlier.end}, is over"
    )


class Span(NamedTuple):
    """A part of a block."""

    block: Block
    start: int
    end: int

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """Its bytes."""
        return self.block.data[self.start : self.end]

    def touch(self, *, write: bool, actor: str, clock: Clock, what: str) -> None:
        """See `Block.touch`."""
        self.block.touch(self.start, self.end, write=write, actor=actor, clock=clock, what=what)


class AddressSpace:
    """Finds the block behind an address, on the host or on the device.

    Blocks that were given back stay known, so that using one says which it was.
    """

    def __init__(self) -> None:
        self._next = 1 << 40
        self._host: list[tuple[int, Block]] = []
        self._device: list[tuple[int, Block]] = []

    def add_device(self, block: Block) -> int:
        """Give a block a device address, with a gap behind it that belongs to nothing."""
        address = self._next
        self._next += (block.data.size // 256 + 2) * 256
        self._device.append((address, block))
        return address

    def add_host(self, address: int, block: Block) -> None:
        """Make page-locked memory known."""
        self._host.append((address, block))

    def overlaps_host(self, address: int, size: int) -> bool:
        """Whether some of the memory is page-locked already."""
        return any(
            not block.freed and base < address + size and address < base + block.data.size for base, block in self._host
        )

    def host(self, address: int, size: int, what: str) -> Span:
        """Page-locked host memory behind an address."""
        return _find(self._host, address, size, f"{what}: host address {address:#x} is not page-locked")

    def device(self, address: int, size: int, what: str) -> Span:
        """Device memory behind an address."""
        return _find(self._device, address, size, f"{what}: device address {address:#x} belongs to nothing")


def _find(blocks: list[tuple[int, Block]], address: int, size: int, nothing: str) -> Span:
    for base, block in reversed(blocks):
        if base <= address < base + block.data.size:
            start = address - base
            if start + size > block.data.size:
                raise AccountingError(
                    f"{size} bytes from byte {start} of {block.name} run past its end ({block.data.size})", where="gpu"
                )
            return Span(block, start, start + size)
    raise AccountingError(nothing, where="gpu")
