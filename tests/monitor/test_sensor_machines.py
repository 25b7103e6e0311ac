# SPDX-License-Identifier: Apache-2.0
"""Every machine's tree gives the reading that a person would take from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import sensor_trees
from support.fake_nvml import BUS_ID, FakeNvml
from support.open_files import open_files
from support.sensor_trees import Tree

from edged.gpu.nvml import open_gpu
from edged.monitor.readings import Cause, Clock, Flag, Memory, PowerMode, Reading
from edged.monitor.sensors import MachineSensors

Open = Callable[..., MachineSensors]


@pytest.fixture
def sensors() -> Iterator[Open]:
    opened: list[MachineSensors] = []

    def make(tree: Tree, nvml: FakeNvml | None = None) -> MachineSensors:
        gpu = None if nvml is None else lambda: open_gpu(BUS_ID, lambda: nvml)
        opened.append(MachineSensors(tree.root, gpu))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def reasons(reading: Reading) -> dict[tuple[str, str], str]:
    return {(unknown.name, unknown.kind): unknown.reason for unknown in reading.unknown}


def test_orin(tmp_path: Path, sensors: Open) -> None:
    reading = sensors(sensor_trees.orin(tmp_path)).read()
    assert reading.values("temperature") == {
        "cpu-thermal": 50.0,
        "gpu-thermal": 50.5,
        "soc0-thermal": 51.0,
        "tj-thermal": 51.5,
    }
    assert reading.value("margin", "tj-thermal") == pytest.approx(47.5)
    assert reading.values("power") == pytest.approx(
        {"VDD_IN": 11.96, "VDD_CPU_GPU_CV": 5.48, "VDD_SOC": 2.49}, abs=0.01
    )
    assert reading.power_w == reading.value("power", "VDD_IN")
    assert reading.clocks[0] == Clock("gpu", 1.02e9, 1.02e9, 1.02e9)
    assert [clock.name for clock in reading.clocks] == ["gpu", "cpu0", "cpu4"]
    assert reading.value("load", "gpu") == pytest.approx(0.873)
    assert reading.value("fan", "pwmfan") == pytest.approx(0.4)
    assert reading.value("fan_speed", "pwm_tach") == 2140
    assert reading.power_mode == PowerMode(0, "MAXN")
    assert reading.memory == Memory("unified", 16_000_000 * 1024, 32_000_000 * 1024)
    assert {counter.name for counter in reading.counters if counter.cause is Cause.OVER_CURRENT} == {
        "oc1 under-voltage",
        "oc2 average over-current",
        "oc3 instantaneous over-current",
    }
    assert not any(flag.active for flag in reading.flags)
    assert "pwm-fan" not in {flag.name for flag in reading.flags}
    assert reading.unknown == ()


def test_orin_with_sensors_off_is_unknown_and_not_cool(tmp_path: Path, sensors: Open) -> None:
    reading = sensors(sensor_trees.orin_with_sensors_off(tmp_path)).read()
    assert set(reading.values("temperature")) == {"cpu-thermal", "soc0-thermal", "tj-thermal"}
    assert "gpu-thermal" not in reading.values("margin")
    why = reasons(reading)
    assert "absurd: -256 celsius" in why["gpu-thermal", "temperature"]
    assert "absurd" in why["cv0-thermal", "temperature"]
    assert "empty" in why["cv1-thermal", "temperature"]
    assert "-1 mA" in why["VIN_SYS_5V0", "power"]
    assert set(reading.values("power")) == {"VDD_GPU_SOC", "VDD_CPU_CV"}
    assert reading.power_w is None, "a sum without one of its rails is no sum"


def test_agx_orin_sums_its_rails(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.orin_with_sensors_off(tmp_path)
    tree.set("sys/class/hwmon/hwmon2/curr2_input", 1000)
    assert sensors(tree).read().power_w == pytest.approx(7.6 + 1.9 + 5.0)


def test_thor(tmp_path: Path, sensors: Open) -> None:
    reading = sensors(sensor_trees.thor(tmp_path)).read()
    assert [clock.name for clock in reading.clocks] == ["gpu-gpc-0", "gpu-nvd-0", "cpu0"]
    assert reading.power_w == pytest.approx(55.0)
    assert reading.value("temperature", "soc012-thermal") == 49.0
    assert Flag("devfreq-gpu-gpc-0", Cause.THERMAL, False) in reading.flags
    assert reading.memory is not None
    assert reading.memory.kind == "unified"


def test_on_a_jetson_nvml_is_not_even_opened(tmp_path: Path, sensors: Open) -> None:
    nvml = FakeNvml()
    sensors(sensor_trees.orin(tmp_path), nvml)
    assert nvml.calls == []
    assert nvml.started == 0


def test_discrete_gpu(tmp_path: Path, sensors: Open) -> None:
    nvml = FakeNvml()
    nvml.gpu.fields[75] = 3_000_000_000
    nvml.gpu.reasons = 0x1 | 0x20
    reading = sensors(sensor_trees.gpu_host(tmp_path), nvml).read()
    assert reading.value("temperature", "gpu") == 45
    assert reading.value("margin", "gpu") == 42
    assert (reading.power_w, reading.power_limit_w, reading.energy_j) == (350.0, 700.0, 1e6)
    assert reading.clocks[0] == Clock("gpu", 1.98e9, None, 1.98e9)
    assert reading.memory == Memory("gpu", 20 << 30, 140 << 30)
    assert [flag.name for flag in reading.flags if flag.active] == ["software thermal slowdown"]
    counters = {counter.name: counter for counter in reading.counters}
    assert (counters["thermal policy"].value, counters["thermal policy"].unit) == (3.0, "seconds")
    assert {unknown.name for unknown in reading.unknown} == {"nvme:temp2"}


def test_plain_linux(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.linux(tmp_path)
    machine = sensors(tree)
    reading = machine.read()
    assert reading.values("temperature") == {
        "acpitz": 27.8,
        "acpitz-2": 29.8,
        "x86_pkg_temp": 55.0,
        "coretemp:Package id 0": 55.0,
        "nvme:Composite": pytest.approx(38.85),
    }
    assert "absurd" in reasons(reading)["nvme:temp2", "temperature"]
    assert [clock.name for clock in reading.clocks] == ["cpu0", "cpu2", "cpu4", "cpu6"]
    assert reading.memory is not None
    assert reading.memory.kind == "host"
    assert {(counter.name, counter.cause, counter.value) for counter in reading.counters} == {
        ("cpu pressure", Cause.HOST_CPU, 5.0),
        ("package 0", Cause.THERMAL, 1.2),
    }
    assert [flag.name for flag in reading.flags] == ["Processor"]
    assert reading.power_w is None
    assert reading.value("load", "cpu") is None, "the first reading has nothing to compare with"
    sensor_trees.cpu_time(tree, 1075, 9025)
    assert machine.read().value("load", "cpu") == pytest.approx(0.75)


def test_a_machine_without_any_sensor(tmp_path: Path, sensors: Open) -> None:
    reading = sensors(Tree(tmp_path)).read()
    assert (reading.sensors, reading.flags, reading.counters) == ((), (), ())
    assert reading.memory is None


@pytest.mark.parametrize(
    "value", ["", "x", "-256000", "-256001", "200001", "65261850", "nan", "inf", "9" * 400], ids=lambda text: text[:9]
)
def test_no_bad_value_becomes_a_temperature(tmp_path: Path, sensors: Open, value: str) -> None:
    tree = sensor_trees.orin(tmp_path)
    machine = sensors(tree)
    tree.set("sys/class/thermal/thermal_zone1/temp", value)
    reading = machine.read()
    assert "gpu-thermal" not in reading.values("temperature") | reading.values("margin")
    assert reasons(reading)["gpu-thermal", "temperature"]


def test_a_sensor_that_vanishes_and_returns(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.orin(tmp_path)
    machine = sensors(tree)
    machine.read()
    tree.vanish("sys/class/thermal/thermal_zone1/temp")
    assert machine.read().value("temperature", "gpu-thermal") is None
    assert "No such file" in reasons(machine.read())["gpu-thermal", "temperature"]
    tree.set("sys/class/thermal/thermal_zone1/temp", 61_000)
    assert machine.read().value("temperature", "gpu-thermal") == 61.0


def test_a_frozen_sensor_is_not_flagged(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.orin(tmp_path)
    machine = sensors(tree)
    for step in range(300):
        tree.set("sys/class/thermal/thermal_zone0/temp", 50_000 + 10 * step)
        reading = machine.read()
    assert reading.value("temperature", "gpu-thermal") == 50.5
    assert "temperature" not in {unknown.kind for unknown in reading.unknown}


def test_a_jetson_whose_mode_cannot_be_read(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.orin(tmp_path)
    tree.vanish("var/lib/nvpmodel/status")
    reading = sensors(tree).read()
    assert reading.power_mode is None
    assert ("nvpmodel", "power mode") in reasons(reading)


def test_events_that_slow_nothing_down_have_no_cause(tmp_path: Path, sensors: Open) -> None:
    tree = sensor_trees.orin(tmp_path)
    tree.set("sys/class/hwmon/hwmon3/oc3_throt_en", 0)
    counters = {counter.name: counter.cause for counter in sensors(tree).read().counters}
    assert counters["oc3 instantaneous over-current"] is None
    assert counters["oc2 average over-current"] is Cause.OVER_CURRENT


def test_files_stay_open_and_are_given_back(tmp_path: Path) -> None:
    machine = MachineSensors(sensor_trees.orin(tmp_path).root)
    before = open_files()
    machine.read()
    opened = open_files()
    for _ in range(10):
        machine.read()
    assert not open_files() - opened
    machine.close()
    assert not open_files() - before


def test_a_reading_is_cheap(tmp_path: Path, sensors: Open) -> None:
    machine = sensors(sensor_trees.orin(tmp_path))
    costs = []
    for _ in range(50):
        start = time.thread_time()
        machine.read()
        costs.append(time.thread_time() - start)
    # The best of many: what it costs, not what else the machine was doing.
    assert min(costs) < 1e-3


def test_without_a_driver_the_gpu_is_unknown_and_the_rest_is_read(tmp_path: Path, sensors: Open) -> None:
    reading = sensors(sensor_trees.gpu_host(tmp_path), FakeNvml(driver=False)).read()
    assert "NVIDIA driver library" in reasons(reading)["gpu", "nvml"]
    assert reading.value("temperature", "x86_pkg_temp") == 55.0
    assert reading.memory is not None
    assert reading.memory.kind == "host"
