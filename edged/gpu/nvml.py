# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's management library tells of one GPU, as plain numbers.

The bindings are loaded when they are first needed, and cost about 25 MB of memory (they need numpy); on a Jetson
nothing here is used. NVML is found by PCI address, since its order of GPUs is not CUDA's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from edged.errors import DeviceUnavailableError

_INSTALL = "install the NVIDIA driver, and cuda-python (part of edged[tensorrt-cu12] and edged[tensorrt-cu13])"
_NOT_SUPPORTED = 3
_INTEGERS = {1: "ui_val", 2: "ull_val", 3: "ull_val"}
"""Members of a field value by its type: unsigned int, unsigned long (eight bytes on Linux), unsigned long long."""
_FIELDS: dict[str, tuple[int, ...]] = {
    "power cap": (74,),
    "thermal policy": (75,),
    # Drivers differ: one numbering has these three at 269 and settings of power smoothing at 251, the other one has
    # the counters at 251 and other settings at 269. Settings stay as they are, so the sum of both answers grows
    # exactly as the counter does, and only growth means anything.
    "software thermal slowdown": (251, 269),
    "hardware thermal slowdown": (252, 270),
    "power brake": (253, 271),
}
"""Numbers of the counters of nanoseconds for which the clocks were held down."""


class Answer(NamedTuple):
    """What NVML said: a number, or None and why there is none."""

    value: float | None
    reason: str = ""


def bindings() -> Any:
    """The module ``cuda.bindings.nvml``.

    Raises:
        DeviceUnavailableError: it is not installed, or too old to have NVML.
    """
    try:
        return import_module("cuda.bindings.nvml")
    except ImportError as error:
        raise DeviceUnavailableError(
            f"NVML's Python bindings cannot be imported ({error})", where="cuda.bindings.nvml", remedy=_INSTALL
        ) from error


def open_gpu(bus_id: str, load: Callable[[], Any] = bindings) -> NvmlGpu:
    """Start NVML and find a GPU.

    Args:
        bus_id: its PCI address, as `edged.gpu.api.DeviceInfo` has it; empty takes the only one there is.
        load: what gives the bindings.

    Raises:
        DeviceUnavailableError: no bindings, no driver, or no such GPU.
    """
    module = load()
    _try(module, module.init_v2, "starting NVML")
    try:
        handle = _find(module, bus_id)
    except DeviceUnavailableError:
        module.shutdown()
        raise
    return NvmlGpu(module, handle)


def _find(module: Any, bus_id: str) -> int:
    if bus_id:
        return int(_try(module, lambda: module.device_get_handle_by_pci_bus_id_v2(bus_id), f"finding GPU {bus_id}"))
    count = _try(module, module.device_get_count_v2, "counting GPUs")
    if count != 1:
        raise DeviceUnavailableError(
            f"NVML sees {count} GPUs and was not told which one is meant", where="NVML", remedy="give its PCI address"
        )
    return int(_try(module, lambda: module.device_get_handle_by_index_v2(0), "finding the GPU"))


def _try(module: Any, call: Callable[[], Any], doing: str) -> Any:
    try:
        return call()
    except (module.NvmlError, RuntimeError) as error:
        # No driver at all is a RuntimeError of the loader, not an error of NVML.
        raise DeviceUnavailableError(f"{doing} failed: {error}", where="NVML", remedy=_INSTALL) from error


class NvmlGpu:
    """One GPU; made by `open_gpu`.

    Args:
        module: the bindings, NVML started.
        handle: of the GPU.
    """

    def __init__(self, module: Any, handle: int) -> None:
        self._nvml = module
        self._handle = handle
        self._open = True
        self._refused: dict[str, Answer] = {}
        self._numbers = tuple(number for numbers in _FIELDS.values() for number in numbers)
        self._fields = module.FieldValue(len(self._numbers))
        self._fields.field_id = list(self._numbers)
        self._fields.scope_id = 0
        self._calls = _calls(module, handle)
        most = {
            f"max {name}": partial(module.device_get_max_clock_info, handle, kind) for name, kind in _clocks(module)
        }
        self._fixed = {name: self._one(name, call) for name, call in most.items()}
        self._has_fan = self._one("fan", self._calls["fan"]).value is not None

    def answers(self) -> dict[str, Answer]:
        """Everything at once.

        Returns:
            ``temperature``, ``margin`` (°C), ``clock``, ``memory clock``, ``max clock``, ``max memory clock`` (MHz),
            ``power``, ``power limit`` (mW), ``energy`` (mJ since the driver was loaded), ``load`` (%), ``fan`` (%, not
            without a fan), ``memory used``, ``memory total`` (bytes), ``reasons`` (NVML's bits for this instant), and
            the counters of time held back, in nanoseconds: ``power cap``, ``thermal policy``, ``software thermal
            slowdown``, ``hardware thermal slowdown``, ``power brake``.
        """
        answers = {name: self._one(name, call) for name, call in self._calls.items() if name != "fan" or self._has_fan}
        answers.update(self._memory())
        answers.update(self._counters())
        answers.update(self._fixed)
        return answers

    def close(self) -> None:
        """End NVML; a second call does nothing."""
        if self._open:
            self._open = False
            self._nvml.shutdown()

    def _one(self, name: str, call: Callable[[], Any]) -> Answer:
        """The answer to one question; what a GPU does not support is not asked again."""
        refused = self._refused.get(name)
        if refused is not None:
            return refused
        try:
            return Answer(call())
        except self._nvml.NotSupportedError:
            self._refused[name] = Answer(None, "not supported by this GPU")
            return self._refused[name]
        except (self._nvml.NvmlError, RuntimeError) as error:
            # A RuntimeError: the driver's library lacks the function.
            return Answer(None, str(error))

    def _memory(self) -> dict[str, Answer]:
        info: list[Any] = []
        used = self._one("memory used", lambda: info.append(self._nvml.device_get_memory_info_v2(self._handle)))
        if not info:
            return {"memory used": used, "memory total": used}
        return {"memory used": Answer(info[0].used), "memory total": Answer(info[0].total)}

    def _counters(self) -> dict[str, Answer]:
        asked = self._one("counters", self._ask_fields)
        if asked.value is None:
            return dict.fromkeys(_FIELDS, asked)
        values = dict(zip(self._numbers, self._field_values(), strict=True))
        return {name: _sum([values[number] for number in numbers]) for name, numbers in _FIELDS.items()}

    def _ask_fields(self) -> int:
        self._nvml.device_get_field_values(self._handle, self._fields)
        return len(self._numbers)

    def _field_values(self) -> list[Answer]:
        fields = self._fields
        members = {name: fields.value[name].tolist() for name in set(_INTEGERS.values())}
        outcomes = zip(fields.nvml_return.tolist(), fields.value_type.tolist(), strict=True)
        return [_field(code, members, kind, index) for index, (code, kind) in enumerate(outcomes)]


def _field(code: int, members: dict[str, list[int]], kind: int, index: int) -> Answer:
    if code:
        return Answer(None, "not supported by this GPU" if code == _NOT_SUPPORTED else f"NVML error {code}")
    member = _INTEGERS.get(kind)
    return Answer(None, f"unexpected type {kind}") if member is None else Answer(members[member][index])


def _sum(answers: list[Answer]) -> Answer:
    known = [answer.value for answer in answers if answer.value is not None]
    return Answer(sum(known)) if known else answers[-1]


def _clocks(module: Any) -> tuple[tuple[str, int], ...]:
    return (("clock", module.ClockType.CLOCK_GRAPHICS), ("memory clock", module.ClockType.CLOCK_MEM))


def _calls(module: Any, handle: int) -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {
        "temperature": lambda: module.device_get_temperature_v(handle, module.TemperatureSensors.TEMPERATURE_GPU),
        "margin": lambda: module.device_get_margin_temperature(handle),
        "power": lambda: module.device_get_power_usage(handle),
        "power limit": lambda: module.device_get_enforced_power_limit(handle),
        "energy": lambda: module.device_get_total_energy_consumption(handle),
        "load": lambda: module.device_get_utilization_rates(handle).gpu,
        "reasons": lambda: module.device_get_current_clocks_event_reasons(handle),
        "fan": lambda: module.device_get_fan_speed(handle),
    }
    calls.update((name, partial(module.device_get_clock_info, handle, kind)) for name, kind in _clocks(module))
    return calls
