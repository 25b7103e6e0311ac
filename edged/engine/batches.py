# SPDX-License-Identifier: Apache-2.0
"""Batches that are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from numpy.typing import NDArray

Batch = TypeVar("Batch", bound=NDArray[Any])


class Batches(Sequence[Batch]):
    """A sequence of which a subclass says how long it is, and what one item is; a part of it is a list."""

    @abstractmethod
    def one(self, index: int) -> Batch:
        """A batch.

        Raises:
            IndexError: there is none.
        """

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self.one(one) for one in range(*index.indices(len(self)))]
        return self.one(index)
