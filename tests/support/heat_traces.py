# SPDX-License-Identifier: Apache-2.0
"""Machines that slow down, second by second: the trees of `sensor_trees` change, and the real sensors read them.

A trace is a list of moments; each is what the sensors read and what the pipeline did in that second. The first
``FALL`` seconds go well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edged.gpu.nvml import open_gpu
from edged.monitor.ledger.sample import Latencies
from edged.monitor.monitor import Happened, Look, Monitor
from edged.monitor.readings import Reading, Throughput
from edged.monitor.sensors import MachineSensors
from support import sensor_trees
from support.fake_nvml import BUS_ID, FakeNvml
from support.sensor_trees import Tree

FALL = 60
LONG = 120
WALL = 1_790_000_000.0
"""Unix seconds at monotonic 0 of a trace."""
_THERMAL = "sys/class/thermal/"
_GPU = "sys/class/devfreq/17000000.gpu/"
_CURRENT = "sys/class/hwmon/hwmon3/"


class Moment(NamedTuple):
    """One second."""

    reading: Reading
    figures: Throughput


class Second(NamedTuple):
    """What the pipeline did in a second."""

    hz: float
    offered_hz: float = 60.0
    idle: float = 0.05


Step = Callable[[int], Second]


def play(
    tree: Tree, step: Step, seconds: int = LONG, nvml: FakeNvml | None = None, noise: float = 0.01
) -> list[Moment]:
    """Run a trace: ``step`` changes the machine and says what the pipeline did; a little noise is laid on that."""
    now = [0.0]
    gpu = None if nvml is None else lambda: open_gpu(BUS_ID, lambda: nvml)
    sensors = MachineSensors(tree.root, gpu, lambda: now[0])
    chance, moments = random.Random(1), []
    for second in range(seconds):
        now[0] = 1000.0 + second
        did = step(second)
        hz = did.hz * (1 + chance.uniform(-noise, noise))
        reading = sensors.read()
        moments.append(Moment(reading, Throughput(now[0], hz, did.offered_hz, did.idle)))
    sensors.close()
    return moments


def _steady(tree: Tree, second: int, load: float = 0.4) -> None:
    sensor_trees.cpu_time(tree, int(1000 + 100 * load * second), int(9000 + 100 * (1 - load) * second))
    sensor_trees.pressure(tree, 5_000_000 + 20_000 * second)


def _heat(tree: Tree, degrees: float) -> None:
    for number in range(4):
        tree.set(f"{_THERMAL}thermal_zone{number}/temp", int(1000 * degrees) - 500 * number)


def _slow(tree: Tree, throttled: bool) -> None:
    """What Orin does at the trip point; the kernel shows its cap in max_freq too."""
    clock = 612_000_000 if throttled else 1_020_000_000
    tree.update({"cur_freq": clock, "max_freq": clock}, _GPU)
    tree.set(f"{_THERMAL}cooling_device1/cur_state", int(throttled))
    tree.set(f"{_THERMAL}cooling_device4/cur_state", 4 if throttled else 0)


def orin_heating(root: Path, cool_again: int = 10**6) -> list[Moment]:
    """Heats up to the trip point, throttles, and cools down again where wanted."""
    tree = sensor_trees.orin(root)

    def step(second: int) -> Second:
        _steady(tree, second)
        throttled = FALL <= second < cool_again
        cooling = max(0.0, 0.5 * (second - cool_again))
        _heat(tree, min(99.2, 60 + 0.66 * second) - min(cooling, 40.0))
        _slow(tree, throttled)
        return Second(37.0, idle=0.0) if throttled else Second(60.0)

    return play(tree, step, LONG if cool_again > LONG else 2 * LONG)


def sensors_vanish(root: Path) -> list[Moment]:
    """While it heats, every sensor of heat vanishes; then throughput falls for a reason that nothing shows."""
    tree = sensor_trees.orin(root)

    def step(second: int) -> Second:
        _steady(tree, second)
        if second < FALL - 20:
            _heat(tree, 60 + second)
        elif second == FALL - 20:
            for number in range(4):
                tree.vanish(f"{_THERMAL}thermal_zone{number}/temp")
            for number in range(5):
                tree.vanish(f"{_THERMAL}cooling_device{number}/cur_state")
        return Second(60.0 if second < FALL else 45.0)

    return play(tree, step)


def power_cap(root: Path) -> list[Moment]:
    """A discrete GPU at its limit; the instant bit is never set when it is looked at, only the counter tells."""
    tree, nvml = sensor_trees.gpu_host(root), FakeNvml()

    def step(second: int) -> Second:
        _steady(tree, second)
        nvml.gpu.energy += 600_000
        if second < FALL:
            return Second(400.0, 400.0)
        nvml.gpu.power, nvml.gpu.clock = 698_000, 1600
        nvml.gpu.fields[74] += 700_000_000
        return Second(330.0, 400.0)

    return play(tree, step, nvml=nvml)


def hot_gpu(root: Path) -> list[Moment]:
    """A discrete GPU without counters: only the instant bits tell."""
    tree, nvml = sensor_trees.gpu_host(root), FakeNvml()
    nvml.gpu.fields = {}

    def step(second: int) -> Second:
        _steady(tree, second)
        nvml.gpu.temperature, nvml.gpu.margin = (87, 0) if second >= FALL else (60 + second // 3, 27 - second // 3)
        if second < FALL:
            return Second(400.0, 400.0)
        nvml.gpu.clock, nvml.gpu.reasons = 1200, 0x8 | 0x40
        return Second(300.0, 400.0)

    return play(tree, step, nvml=nvml)


def over_current_storm(root: Path, seconds: int = LONG) -> list[Moment]:
    """Over-current events by the dozen, with pauses of a few seconds between the bursts."""
    tree, count = sensor_trees.orin(root), [0]

    def step(second: int) -> Second:
        _steady(tree, second)
        if second < FALL:
            return Second(60.0)
        if second % 7 < 4:
            count[0] += 50
        tree.set(f"{_CURRENT}oc3_event_cnt", count[0])
        tree.set(f"{_GPU}cur_freq", 714_000_000)
        return Second(46.0, idle=0.0)

    return play(tree, step, seconds)


def fan_failure(root: Path) -> list[Moment]:
    """The fan stands still however hard it is driven; half a minute later the module throttles."""
    tree = sensor_trees.orin(root)

    def step(second: int) -> Second:
        _steady(tree, second)
        failed = second >= FALL - 30
        tree.set("sys/class/hwmon/hwmon5/rpm", 0 if failed else 4800)
        tree.set("sys/class/hwmon/hwmon0/pwm1", 255 if failed else 150)
        _heat(tree, min(99.5, 70 + (second - FALL + 30)) if failed else 70)
        _slow(tree, second >= FALL)
        return Second(37.0 if second >= FALL else 60.0)

    return play(tree, step)


def mode_switched(root: Path) -> list[Moment]:
    """Somebody chose the 15 W mode."""
    tree = sensor_trees.orin(root)

    def step(second: int) -> Second:
        _steady(tree, second)
        if second < FALL:
            return Second(60.0)
        tree.set("var/lib/nvpmodel/status", "pmode:0001")
        tree.update({"cur_freq": 624_750_000, "max_freq": 624_750_000}, _GPU)
        return Second(40.0, idle=0.0)

    return play(tree, step)


def camera_slows(root: Path) -> list[Moment]:
    """Fewer frames come; the idle GPU lowers its clock by itself, which is not why."""
    tree = sensor_trees.orin(root)

    def step(second: int) -> Second:
        _steady(tree, second)
        if second < FALL:
            return Second(60.0)
        tree.update({"cur_freq": 408_000_000, "device/load": 300}, _GPU)
        return Second(20.0, 20.0, 0.6)

    return play(tree, step)


def cpu_taken(root: Path) -> list[Moment]:
    """Something else takes the CPU, so that decoding falls behind."""
    tree, ticks, waited = sensor_trees.orin(root), [1000, 9000], [0]

    def step(second: int) -> Second:
        taken = second >= FALL
        ticks[0] += 99 if taken else 40
        ticks[1] += 1 if taken else 60
        waited[0] += 800_000 if taken else 30_000
        sensor_trees.cpu_time(tree, *ticks)
        sensor_trees.pressure(tree, waited[0])
        return Second(40.0, 40.0, 0.18) if taken else Second(60.0)

    return play(tree, step)


def heat_and_current(root: Path) -> list[Moment]:
    """Throttled for heat all the time, and for over-current now and then."""
    tree, count = sensor_trees.orin(root), [0]

    def step(second: int) -> Second:
        _steady(tree, second)
        _heat(tree, 99.0 if second >= FALL else 80.0)
        _slow(tree, second >= FALL)
        if second >= FALL and second % 4 == 0:
            count[0] += 3
        tree.set(f"{_CURRENT}oc2_event_cnt", count[0])
        return Second(35.0 if second >= FALL else 60.0)

    return play(tree, step)


def hot_laptop(root: Path) -> list[Moment]:
    """An x86 CPU that counts how long it was held back; ONNX Runtime computes on it."""
    tree, held = sensor_trees.linux(root), [1200]

    def step(second: int) -> Second:
        _steady(tree, second, 0.95)
        if second < FALL:
            return Second(12.0, 12.0)
        held[0] += 600
        tree.set("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_total_time_ms", held[0])
        for cpu in range(8):
            tree.set(f"sys/devices/system/cpu/cpufreq/policy{cpu}/scaling_cur_freq", 2_400_000)
        return Second(8.0, 12.0)

    return play(tree, step)


def steady(root: Path) -> list[Moment]:
    """Nothing happens: warm, over-current events now and then as ever, throughput with its noise."""
    tree, count = sensor_trees.orin(root), [0]

    def step(second: int) -> Second:
        _steady(tree, second)
        count[0] += second % 2
        tree.set(f"{_CURRENT}oc3_event_cnt", count[0])
        return Second(60.0)

    return play(tree, step, noise=0.03)


def replay(monitor: Monitor, moments: list[Moment]) -> list[Happened]:
    """Have a monitor look at a trace as the supervisor would; everything it tells."""
    happened = []
    for reading, figures in moments:
        latency = Latencies.of([20.0] * round(figures.hz))
        look = Look(figures.at, WALL + figures.at, reading, latency, figures.offered_hz, figures.idle)
        happened += monitor.look(look)
    return happened
