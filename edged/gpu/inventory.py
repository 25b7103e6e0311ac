# SPDX-License-Identifier: Apache-2.0
"""What a GPU has given out and not got back: leaks are found by counting, on the real GPU too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn

from edged.gpu.api import LiveObject
from edged.gpu.errors import ClosedError


class _Entry(NamedTuple):
    live: LiveObject
    end: Callable[[], None]


class Inventory:
    """Counts live objects and ends what nobody else ended."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._next = 0

    def add(self, kind: str, name: str, size: int, end: Callable[[], None]) -> int:
        """Note a new object.

        Args:
            kind: ``stream``, ``event``, ``device``, ``host``, ``registered``, ``graph``, ``engine``, ``context``.
            name: what it is for.
            size: bytes, 0 where it holds none.
            end: destroys it without unnoting it.

        Returns:
            The ticket for `remove`.
        """
        self._next += 1
        self._entries[self._next] = _Entry(LiveObject(kind, name, size), end)
        return self._next

    def remove(self, ticket: int) -> None:
        """Forget an object that was ended."""
        del self._entries[ticket]

    def live(self) -> tuple[LiveObject, ...]:
        """Everything that is alive, oldest first."""
        return tuple(entry.live for entry in self._entries.values())

    def size(self, *kinds: str) -> int:
        """Bytes held by objects of these kinds."""
        return sum(entry.live.size for entry in self._entries.values() if entry.live.kind in kinds)

    def end_all(self) -> None:
        """End everything that is left, newest first."""
        while self._entries:
            _, entry = self._entries.popitem()
            entry.end()


def describe(leaks: tuple[LiveObject, ...]) -> str:
    """Leaked objects as a short text: counts by kind, then the names."""
    counts = Counter(leak.kind for leak in leaks)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{kinds}: " + ", ".join(leak.name for leak in leaks[:20])


class Owned:
    """Something with an owner and an explicit end, noted in the owner's inventory.

    Args:
        inventory: the owner's.
        kind: see `Inventory.add`.
        name: what it is for.
        size: bytes.
    """

    __slots__ = ("_inventory", "_ticket", "kind", "name", "size")
    _fading: ClassVar[tuple[str, ...]] = ()
    """Attributes that vanish at the end: using one then raises, and before it costs no check."""

    def __init__(self, inventory: Inventory, kind: str, name: str, size: int = 0) -> None:
        self.kind = kind
        self.name = name
        self.size = size
        self._inventory = inventory
        self._ticket = inventory.add(kind, name, size, self._end)

    if not TYPE_CHECKING:

        def __getattr__(self, attribute: str) -> NoReturn:
            if attribute in self._fading:
                raise ClosedError(f"{self.kind} {self.name} was used after its end", where="gpu")
            raise AttributeError(attribute)

    @property
    def closed(self) -> bool:
        """Whether it was ended."""
        return self._ticket == 0

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._ticket:
            self._inventory.remove(self._ticket)
            self._end()

    def _end(self) -> None:
        self._ticket = 0
        try:
            self._destroy()
        finally:
            for attribute in self._fading:
                self._fade(attribute)

    def _fade(self, attribute: str) -> None:
        try:
            delattr(self, attribute)
        except AttributeError:
            # Never set: the constructor had failed.
            return

    def _destroy(self) -> None:
        """Give the resource back; subclasses say how."""
        raise NotImplementedError
