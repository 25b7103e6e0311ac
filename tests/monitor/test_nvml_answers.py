# SPDX-License-Identifier: Apache-2.0
"""What NVML refuses is unknown; what it lacks is said; and the fake has the signatures of the bindings."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
from support.fake_nvml import BUS_ID, FakeNvml

from edged.errors import DeviceUnavailableError
from edged.gpu.nvml import bindings, open_gpu
from edged.monitor.sensors_nvml import NvmlSensors
from edged.monitor.sensors_sheet import Sheet

CALLS = {
    "device_get_temperature_v": "temperature",
    "device_get_margin_temperature": "margin",
    "device_get_clock_info": "clock",
    "device_get_power_usage": "power",
    "device_get_enforced_power_limit": "power limit",
    "device_get_total_energy_consumption": "energy",
    "device_get_utilization_rates": "load",
    "device_get_current_clocks_event_reasons": "reasons",
    "device_get_memory_info_v2": "memory used",
    "device_get_field_values": "power cap",
}


@pytest.mark.parametrize(("call", "answer"), CALLS.items())
def test_one_refusal_leaves_the_rest_known(call: str, answer: str) -> None:
    nvml = FakeNvml(frozenset({call}))
    gpu = open_gpu(BUS_ID, lambda: nvml)
    answers = gpu.answers()
    assert answers[answer].value is None
    assert answers[answer].reason == "not supported by this GPU"
    others = set(CALLS.values()) - {answer}
    assert all(answers[name].value is not None for name in others)
    asked = nvml.calls.count(call)
    gpu.answers()
    assert nvml.calls.count(call) == asked, "what is not supported is not asked again"


def test_refused_values_are_unknown_in_the_reading() -> None:
    nvml = FakeNvml(frozenset(CALLS))
    sheet = Sheet(0.0)
    NvmlSensors(open_gpu(BUS_ID, lambda: nvml)).read(sheet)
    reading = sheet.reading()
    assert (reading.flags, reading.counters, reading.clocks) == ((), (), ())
    assert (reading.power_w, reading.memory) == (None, None)
    assert {unknown.reason for unknown in reading.unknown} == {"not supported by this GPU"}


def test_a_gpu_without_a_fan_has_no_unknown_fan() -> None:
    assert "fan" not in open_gpu(BUS_ID, lambda: FakeNvml(frozenset({"device_get_fan_speed"}))).answers()


@pytest.mark.parametrize("numbers", [(251, 252, 253), (269, 270, 271)], ids=["older", "newer"])
def test_counters_grow_whichever_numbering_the_driver_has(numbers: tuple[int, int, int]) -> None:
    other = {251, 252, 253, 269, 270, 271} - set(numbers)
    nvml = FakeNvml()
    nvml.gpu.fields = {74: 0, 75: 0} | dict.fromkeys(numbers, 10**9) | dict.fromkeys(other, 7)
    gpu = open_gpu(BUS_ID, lambda: nvml)
    before = gpu.answers()
    for number in numbers:
        nvml.gpu.fields[number] += 5 * 10**8
    after = gpu.answers()
    for name in ("software thermal slowdown", "hardware thermal slowdown", "power brake"):
        first, second = before[name].value, after[name].value
        assert first is not None
        assert second is not None
        assert (first, second - first) == (10**9 + 7, 5 * 10**8)


def test_single_fields_that_are_not_supported() -> None:
    nvml = FakeNvml()
    nvml.gpu.fields = {74: 500}
    answers = open_gpu(BUS_ID, lambda: nvml).answers()
    assert answers["power cap"].value == 500
    assert answers["thermal policy"] == (None, "not supported by this GPU")
    assert answers["power brake"] == (None, "not supported by this GPU")


def test_a_lost_gpu_is_unknown_and_not_zero() -> None:
    nvml = FakeNvml()
    gpu = open_gpu(BUS_ID, lambda: nvml)
    nvml.lost = True
    answers = gpu.answers()
    assert {name for name, answer in answers.items() if answer.value is not None} == {"max clock", "max memory clock"}
    assert answers["temperature"].reason == "GPU is lost"
    nvml.lost = False
    assert gpu.answers()["temperature"].value == 45


def test_no_driver() -> None:
    with pytest.raises(DeviceUnavailableError, match="NVIDIA driver library"):
        open_gpu(BUS_ID, lambda: FakeNvml(driver=False))


def test_no_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", None)
    with pytest.raises(DeviceUnavailableError, match="cannot be imported"):
        bindings()


def test_another_pci_address() -> None:
    nvml = FakeNvml()
    with pytest.raises(DeviceUnavailableError, match="finding GPU 0000:FF"):
        open_gpu("0000:FF:00.0", lambda: nvml)
    assert nvml.started == 0


def test_without_an_address_only_a_single_gpu_is_taken() -> None:
    assert open_gpu("", FakeNvml).answers()["temperature"].value == 45
    with pytest.raises(DeviceUnavailableError, match="sees 2 GPUs"):
        open_gpu("", lambda: FakeNvml(gpus=2))


def test_nvml_is_given_back_once() -> None:
    nvml = FakeNvml()
    gpu = open_gpu(BUS_ID, lambda: nvml)
    gpu.close()
    gpu.close()
    assert nvml.started == 0


def test_the_sensors_need_neither_numpy_nor_cuda() -> None:
    code = (
        "import sys, edged.monitor.sensors, edged.monitor.causes, edged.monitor.causes_events\n"
        "print([name for name in sys.modules if name in ('numpy', 'cuda.bindings')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def _nvml() -> Any:
    return pytest.importorskip("cuda.bindings.nvml", reason="cuda-python with NVML is not installed")


def test_the_fake_has_the_bindings_signatures() -> None:
    real = _nvml()
    for name, method in inspect.getmembers(FakeNvml, inspect.isfunction):
        if name.startswith("_"):
            continue
        described = re.match(rf"{name}\((.*?)\)", getattr(real, name).__doc__)
        assert described, name
        theirs = [each.split()[-1] for each in described[1].split(",") if each]
        ours = list(inspect.signature(method).parameters)[1:]
        # The bindings have one camelCase name.
        assert [each.lower() for each in theirs] == [
            each.replace("_", "") if "_type" in each else each for each in ours
        ]


def test_the_fakes_types_are_the_bindings() -> None:
    real = _nvml()
    assert FakeNvml.FieldValue(2)._data.dtype == real.FieldValue(2)._data.dtype
    for kind in ("ClockType", "TemperatureSensors"):
        for member in getattr(FakeNvml, kind):
            assert int(getattr(getattr(real, kind), member.name)) == member
    assert issubclass(real.NotSupportedError, real.NvmlError)
    for name in ("SW_THERM", "HW_THERM", "HW_POWER_BRAKE"):
        assert int(getattr(real.FieldId, f"DEV_CLOCKS_EVENT_REASON_{name}_SLOWDOWN")) in (251, 252, 253, 269, 270, 271)


def test_the_real_bindings_without_a_driver() -> None:
    real = _nvml()
    try:
        real.init_v2()
    except (real.NvmlError, RuntimeError):
        with pytest.raises(DeviceUnavailableError):
            open_gpu("")
    else:
        real.shutdown()
        pytest.skip("there is a driver here")
