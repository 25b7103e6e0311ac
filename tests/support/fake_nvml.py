# SPDX-License-Identifier: Apache-2.0
"""NVML without a driver: the calls of ``cuda.bindings.nvml`` that edged makes, with the bindings' own signatures.

A test sets ``gpu`` and reads through `edged.gpu.nvml`; ``lacking`` names calls that raise NotSupportedError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

HANDLE = 0x7F00
BUS_ID = "0000:1B:00.0"
_VALUE = {
    "names": ["d_val", "si_val", "ui_val", "ul_val", "ull_val", "sll_val", "us_val"],
    "formats": ["<f8", "<i4", "<u4", "<u4", "<u8", "<i8", "<u2"],
    "offsets": [0] * 7,
    "itemsize": 8,
}
FIELD_VALUE_DTYPE: Any = np.dtype(
    [
        ("field_id", "<u4"),
        ("scope_id", "<u4"),
        ("timestamp", "<i8"),
        ("latency_usec", "<i8"),
        ("value_type", "<i4"),
        ("nvml_return", "<i4"),
        ("value", _VALUE),
    ]
)
UNSIGNED_INT, UNSIGNED_LONG_LONG = 1, 3


class NvmlError(Exception):
    """As in the bindings."""


class NotSupportedError(NvmlError):
    """As in the bindings."""


class UninitializedError(NvmlError):
    """As in the bindings."""


class NotFoundError(NvmlError):
    """As in the bindings."""


class GpuIsLostError(NvmlError):
    """As in the bindings."""


class DynamicLibNotFoundError(RuntimeError):
    """What the bindings' loader raises where there is no driver; not an NvmlError."""


class FieldValue:
    """An array of field values, uninitialised as the bindings leave it."""

    def __init__(self, size: int = 1) -> None:
        self._data: Any = np.frombuffer(b"\xa5" * (FIELD_VALUE_DTYPE.itemsize * size), FIELD_VALUE_DTYPE).copy()
        self._data = self._data.view(np.recarray)

    def __len__(self) -> int:
        return int(self._data.size)

    def _get(self, name: str) -> Any:
        return int(self._data[name][0]) if self._data.size == 1 else self._data[name]

    field_id = property(lambda self: self._get("field_id"), lambda self, val: self._set("field_id", val))
    scope_id = property(lambda self: self._get("scope_id"), lambda self, val: self._set("scope_id", val))
    value_type = property(lambda self: self._get("value_type"))
    nvml_return = property(lambda self: self._get("nvml_return"))

    @property
    def value(self) -> Any:
        return self._data.value

    def _set(self, name: str, val: Any) -> None:
        self._data[name] = val


@dataclass
class GpuState:
    """What the GPU says; times in nanoseconds, as NVML has them."""

    temperature: int = 45
    margin: int = 42
    clock: int = 1980
    memory_clock: int = 3201
    power: int = 350_000
    limit: int = 700_000
    energy: int = 1_000_000_000
    load: int = 90
    reasons: int = 0
    used: int = 20 << 30
    total: int = 140 << 30
    fields: dict[int, int] = field(default_factory=lambda: dict.fromkeys((74, 75, 269, 270, 271), 0))


class FakeNvml:
    """Stands in for the module ``cuda.bindings.nvml``.

    Args:
        lacking: names of calls that this GPU does not support.
        driver: whether there is one.
        gpus: how many there are.
    """

    NvmlError = NvmlError
    NotSupportedError = NotSupportedError
    FieldValue = FieldValue

    class ClockType(IntEnum):
        CLOCK_GRAPHICS = 0
        CLOCK_MEM = 2

    class TemperatureSensors(IntEnum):
        TEMPERATURE_GPU = 0

    def __init__(self, lacking: frozenset[str] = frozenset(), driver: bool = True, gpus: int = 1) -> None:
        self.gpu = GpuState()
        self.lacking = lacking
        self.driver = driver
        self.gpus = gpus
        self.started = 0
        self.lost = False
        self.calls: list[str] = []

    def _asked(self, name: str, device: int) -> None:
        self.calls.append(name)
        if not self.started:
            raise UninitializedError("Uninitialized")
        assert device == HANDLE
        if self.lost:
            raise GpuIsLostError("GPU is lost")
        if name in self.lacking:
            raise NotSupportedError("Not Supported")

    def init_v2(self) -> None:
        if not self.driver:
            raise DynamicLibNotFoundError('"nvml" is an NVIDIA driver library and can only be found via system search.')
        self.started += 1

    def shutdown(self) -> None:
        if not self.started:
            raise UninitializedError("Uninitialized")
        self.started -= 1

    def device_get_count_v2(self) -> int:
        return self.gpus

    def device_get_handle_by_index_v2(self, index: int) -> int:
        assert index == 0
        return HANDLE

    def device_get_handle_by_pci_bus_id_v2(self, pci_bus_id: str) -> int:
        if pci_bus_id != BUS_ID:
            raise NotFoundError("Not Found")
        return HANDLE

    def device_get_temperature_v(self, device: int, sensor_type: int) -> int:
        self._asked("device_get_temperature_v", device)
        assert sensor_type == 0
        return self.gpu.temperature

    def device_get_margin_temperature(self, device: int) -> int:
        self._asked("device_get_margin_temperature", device)
        return self.gpu.margin

    def device_get_clock_info(self, device: int, type: int) -> int:
        self._asked("device_get_clock_info", device)
        return {0: self.gpu.clock, 2: self.gpu.memory_clock}[type]

    def device_get_max_clock_info(self, device: int, type: int) -> int:
        self._asked("device_get_max_clock_info", device)
        return {0: 1980, 2: 3201}[type]

    def device_get_power_usage(self, device: int) -> int:
        self._asked("device_get_power_usage", device)
        return self.gpu.power

    def device_get_enforced_power_limit(self, device: int) -> int:
        self._asked("device_get_enforced_power_limit", device)
        return self.gpu.limit

    def device_get_total_energy_consumption(self, device: int) -> int:
        self._asked("device_get_total_energy_consumption", device)
        return self.gpu.energy

    def device_get_utilization_rates(self, device: int) -> Any:
        self._asked("device_get_utilization_rates", device)
        return _Utilization(self.gpu.load)

    def device_get_current_clocks_event_reasons(self, device: int) -> int:
        self._asked("device_get_current_clocks_event_reasons", device)
        return self.gpu.reasons

    def device_get_fan_speed(self, device: int) -> int:
        self._asked("device_get_fan_speed", device)
        return 40

    def device_get_memory_info_v2(self, device: int) -> Any:
        self._asked("device_get_memory_info_v2", device)
        return _Memory(self.gpu.used, self.gpu.total)

    def device_get_field_values(self, device: int, values: Any) -> Any:
        self._asked("device_get_field_values", device)
        data: NDArray[Any] = values._data
        for row in data:
            known = self.gpu.fields.get(int(row["field_id"]))
            row["nvml_return"] = 3 if known is None else 0
            if known is not None:
                # Settings are small numbers of another type than the counters; the rest of the union is left as it was.
                setting = 0 < known < 100
                row["value_type"] = UNSIGNED_INT if setting else UNSIGNED_LONG_LONG
                row["value"]["ui_val" if setting else "ull_val"] = known
        return values


@dataclass
class _Utilization:
    gpu: int


@dataclass
class _Memory:
    used: int
    total: int
