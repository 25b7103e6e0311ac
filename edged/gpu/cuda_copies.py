# SPDX-License-Identifier: Apache-2.0
"""Many copies in one call of the driver, where it knows that call (CUDA 12.8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from edged.gpu.calls import failure
from edged.gpu.codes import STICKY

_SINCE = 12080
_MOST_ADDRESSES = 4096
_MOST_TARGETS = 256


class BatchedCopies:
    """``cuMemcpyBatchAsync`` from page-locked memory to the device.

    Args:
        driver: the bindings.
        version: CUDA version of the driver, 1000·major + 10·minor.

    Attributes:
        works: whether the call is there, and was never refused; may be unset, for comparing.
    """

    def __init__(self, driver: Any, version: int) -> None:
        self._driver = driver
        needed = ("cuMemcpyBatchAsync", "CUmemcpyAttributes", "CUmemcpySrcAccessOrder")
        self.works = version >= _SINCE and all(hasattr(driver, name) for name in needed)
        # The bindings take only their own objects for addresses; making one takes longer than looking it up.
        self._addresses: dict[int, Any] = {}
        self._targets: dict[tuple[int, tuple[int, ...]], tuple[list[Any], list[int]]] = {}
        if self.works:
            attributes = driver.CUmemcpyAttributes()
            attributes.srcAccessOrder = driver.CUmemcpySrcAccessOrder.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
            self._attributes = [attributes]

    def enqueue(self, target: int, pieces: Sequence[tuple[int, int]], stream: Any, doing: str) -> bool:
        """Copy pieces, each a host address and bytes, side by side to a device address.

        Returns:
            False where the driver does not do that; then they are to be copied one by one.

        Raises:
            GpuLostError: the GPU is gone.
        """
        if not self.works:
            return False
        known = self._addresses
        sources = [known.get(source) or self._address(source) for source, _ in pieces]
        targets, sizes = self._side_by_side(target, tuple([size for _, size in pieces]))
        outcome = self._driver.cuMemcpyBatchAsync(targets, sources, sizes, len(sizes), self._attributes, [0], 1, stream)
        if not outcome[0]:
            return True
        if int(outcome[0]) in STICKY:
            raise failure(outcome[0], doing)
        # Some pieces may be under way: copying them again moves the same bytes to the same place.
        self.works = False
        return False

    def _side_by_side(self, target: int, sizes: tuple[int, ...]) -> tuple[list[Any], list[int]]:
        """Where pieces go: to the same places in most batches."""
        found = self._targets.get((target, sizes))
        if found is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            starts = accumulate(sizes[:-1], initial=target)
            found = self._targets[target, sizes] = [self._address(start) for start in starts], list(sizes)
        return found

    def _address(self, address: int) -> Any:
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= _MOST_ADDRESSES:
                self._addresses.clear()
            found = self._addresses[address] = self._driver.CUdeviceptr(address)
        return found
