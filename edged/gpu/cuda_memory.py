# SPDX-License-Identifier: Apache-2.0
"""Memory of the real GPU, and memory of the host that it reaches by itself."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.gpu.calls import check, release
from edged.gpu.inventory import Inventory, Owned

_PORTABLE, _MAPPED = 1, 2  # CU_MEMHOSTALLOC_* and CU_MEMHOSTREGISTER_* have the same values


def bytes_at(address: int, size: int) -> NDArray[np.uint8]:
    """Existing memory as a uint8 array; it must outlive the array."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class CudaDeviceBuffer(Owned):
    """Device memory."""

    __slots__ = ("_driver", "address")
    _fading = ("address",)

    def __init__(self, driver: Any, inventory: Inventory, name: str, size: int) -> None:
        self._driver = driver
        doing = f"taking {size} bytes of GPU memory for {name}"
        self.address = int(check(driver.cuMemAlloc(size), doing))
        super().__init__(inventory, "device", name, size)

    def _destroy(self) -> None:
        release(self._driver.cuMemFree(self.address), f"giving back GPU memory of {self.name}")


class _HostMemory(Owned):
    __slots__ = ("_driver", "_mapped", "address")
    _fading: ClassVar[tuple[str, ...]] = ("address", "_mapped")
    _driver: Any
    _mapped: int
    address: int

    def _map(self, mapped: bool) -> int:
        """Device address of the memory, 0 where it was not asked for; undoes everything where it fails."""
        if not mapped:
            return 0
        outcome = self._driver.cuMemHostGetDevicePointer(self.address, 0)
        if outcome[0]:
            self._destroy()
        return int(check(outcome, f"mapping {self.name} for the GPU"))

    @property
    def device_address(self) -> int:
        """The memory as the device sees it."""
        if not self._mapped:
            raise InternalError(f"{self.name} was not made with mapped=True", where="gpu")
        return self._mapped


class CudaHostBuffer(_HostMemory):
    """Page-locked memory of its own."""

    __slots__ = ("array",)
    _fading = ("address", "_mapped", "array")

    def __init__(self, driver: Any, inventory: Inventory, name: str, size: int, *, mapped: bool) -> None:
        self._driver = driver
        self.name = name
        flags = _PORTABLE | (_MAPPED if mapped else 0)
        self.address = int(check(driver.cuMemHostAlloc(size, flags), f"page-locking {size} bytes for {name}"))
        self._mapped = self._map(mapped)
        self.array = bytes_at(self.address, size)
        super().__init__(inventory, "host", name, size)

    def _destroy(self) -> None:
        release(self._driver.cuMemFreeHost(self.address), f"giving back page-locked memory of {self.name}")


class CudaRegisteredHost(_HostMemory):
    """Memory that existed before, page-locked."""

    __slots__ = ()

    def __init__(self, driver: Any, inventory: Inventory, name: str, address: int, size: int, *, mapped: bool) -> None:
        self._driver = driver
        self.name = name
        self.address = address
        flags = _PORTABLE | (_MAPPED if mapped else 0)
        check(driver.cuMemHostRegister(address, size, flags), f"page-locking the {size} bytes of {name}")
        self._mapped = self._map(mapped)
        super().__init__(inventory, "registered", name, size)

    def _destroy(self) -> None:
        release(self._driver.cuMemHostUnregister(self.address), f"unlocking the memory of {self.name}")
