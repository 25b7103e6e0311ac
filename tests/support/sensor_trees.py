# SPDX-License-Identifier: Apache-2.0
"""File systems as the sensors find them: Orin, Thor, a host with a discrete GPU, plain Linux.

Built from the paths and formats that the kernels of these machines have, without the links: where the kernel shows a
device under several paths, the tree has the one that edged reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

NVPMODEL = """\
# a comment
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=MAXN >
GPU MAX_FREQ -1
< POWER_MODEL ID=1 NAME=MODE_15W >
GPU MAX_FREQ 624750000
< PM_CONFIG DEFAULT=1 >
"""
ORIN_STEPS = "306000000 408000000 510000000 612000000 714000000 816000000 918000000 1020000000"
OFF = -256000


class Tree:
    """A root that tests change under the sensors' feet.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def set(self, path: str, value: object) -> None:
        """Write a file in place, as the kernel's value changes under an open file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    def update(self, files: Mapping[str, object], under: str = "") -> None:
        """Write several."""
        for path, value in files.items():
            self.set(f"{under}{path}", value)

    def vanish(self, path: str) -> None:
        """Remove a file; who holds it open reads nothing any more, as with a device that is gone."""
        file = self.root / path
        file.write_bytes(b"")
        file.unlink()


def zone(tree: Tree, number: int, kind: str, millidegrees: int, passive: int | None = None) -> None:
    """One thermal zone."""
    under = f"sys/class/thermal/thermal_zone{number}/"
    tree.update({"type": kind, "temp": millidegrees}, under)
    tree.update({"trip_point_0_type": "critical", "trip_point_0_temp": 104500}, under)
    if passive is not None:
        tree.update({"trip_point_1_type": "passive", "trip_point_1_temp": passive}, under)


def cooler(tree: Tree, number: int, kind: str, state: int, most: int) -> None:
    """One cooling device."""
    under = f"sys/class/thermal/cooling_device{number}/"
    tree.update({"type": kind, "cur_state": state, "max_state": most}, under)


def ina3221(tree: Tree, number: int, rails: Mapping[int, tuple[str, int, int]]) -> None:
    """Three power rails: label, mV, mA by channel."""
    under = f"sys/class/hwmon/hwmon{number}/"
    tree.set(f"{under}name", "ina3221")
    for channel, (label, volts, amperes) in rails.items():
        tree.set(f"{under}in{channel}_label", label)
        tree.update({f"in{channel}_input": volts, f"curr{channel}_input": amperes}, under)
        tree.update({f"curr{channel}_crit_alarm": 0, f"curr{channel}_max_alarm": 0, f"curr{channel}_max": 9999}, under)
    tree.set(f"{under}in7_label", "sum of shunt voltages")


def host(tree: Tree) -> None:
    """What every Linux has: an idle CPU and half of 32 GB in use."""
    tree.set("proc/meminfo", "MemTotal:       32000000 kB\nMemFree:         9000000 kB\nMemAvailable:   16000000 kB")
    cpu_time(tree, 1000, 9000)
    pressure(tree, 5_000_000)


def cpu_time(tree: Tree, busy: int, idle: int) -> None:
    """Ticks of all CPUs since the start."""
    tree.set("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\nintr 1")


def pressure(tree: Tree, microseconds: int) -> None:
    """Time for which work has waited for the CPU."""
    some = f"some avg10=1.00 avg60=1.00 avg300=1.00 total={microseconds}"
    tree.set("proc/pressure/cpu", f"{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0")


def cpu_clock(tree: Tree, policy: int, kilohertz: int, most: int) -> None:
    """One policy of cpufreq."""
    under = f"sys/devices/system/cpu/cpufreq/policy{policy}/"
    tree.update({"scaling_cur_freq": kilohertz, "scaling_max_freq": most, "cpuinfo_max_freq": most}, under)


def _jetson(tree: Tree, mode: int, soc: str, at_millic: int, trip_millic: int) -> None:
    """What all have: zones, each 0.5 K above the one before, their alerts, a fan and counters."""
    host(tree)
    for number, kind in enumerate(("cpu-thermal", "gpu-thermal", f"{soc}-thermal", "tj-thermal")):
        zone(tree, number, kind, at_millic + 500 * number, trip_millic)
    for number, kind in enumerate(("cpu", "gpu", soc)):
        cooler(tree, number, f"{kind}-throttle-alert", 0, 2)
    tree.set("etc/nvpmodel.conf", NVPMODEL)
    tree.set("var/lib/nvpmodel/status", f"pmode:{mode:04d} fmode:fan_mode_quiet")
    tree.update({"name": "pwmfan", "pwm1": 102}, "sys/class/hwmon/hwmon0/")
    tree.update({"name": "pwm_tach", "rpm": 2140}, "sys/class/hwmon/hwmon5/")
    events = {f"oc{number}_event_cnt": 0 for number in (1, 2, 3)} | {f"oc{number}_throt_en": 1 for number in (1, 2, 3)}
    tree.set("sys/class/hwmon/hwmon3/name", "soctherm_oc")
    tree.update(events, "sys/class/hwmon/hwmon3/")


def orin(root: Path) -> Tree:
    """A Jetson Orin NX: power at VDD_IN, GPU at devfreq 17000000.gpu, tj throttles at 99 °C."""
    tree = Tree(root)
    _jetson(tree, 0, "soc0", 50_000, 99_000)
    cooler(tree, 3, "hot-surface-alert", 0, 1)
    cooler(tree, 4, "devfreq-17000000.gpu", 0, 10)
    cooler(tree, 5, "pwm-fan", 2, 10)
    rails = {1: ("VDD_IN", 4984, 2400), 2: ("VDD_CPU_GPU_CV", 4984, 1100), 3: ("VDD_SOC", 4984, 500)}
    ina3221(tree, 1, rails)
    under = "sys/class/devfreq/17000000.gpu/"
    tree.update({"cur_freq": 1020000000, "min_freq": 306000000, "max_freq": 1020000000}, under)
    tree.update({"available_frequencies": ORIN_STEPS, "device/of_node/name": "gpu", "device/load": 873}, under)
    tree.update({"cur_freq": 900000000, "device/of_node/name": "nvdec"}, "sys/class/devfreq/15480000.nvdec/")
    cpu_clock(tree, 0, 1_984_000, 1_984_000)
    cpu_clock(tree, 4, 1_984_000, 1_984_000)
    return tree


def orin_with_sensors_off(root: Path) -> Tree:
    """An AGX Orin: no VDD_IN, the GPU's zone and two others switched off, one rail not wired, one that fails."""
    tree = orin(root)
    tree.set("sys/class/thermal/thermal_zone1/temp", OFF)
    zone(tree, 4, "cv0-thermal", OFF)
    zone(tree, 5, "cv1-thermal", 0)
    tree.set("sys/class/thermal/thermal_zone5/temp", "")
    tree.vanish("sys/class/hwmon/hwmon1/in1_label")
    ina3221(tree, 1, {1: ("VDD_GPU_SOC", 19000, 400), 2: ("VDD_CPU_CV", 19000, 100), 3: ("NC", 0, 0)})
    ina3221(tree, 2, {2: ("VIN_SYS_5V0", 5000, -1)})
    return tree


def thor(root: Path) -> Tree:
    """A Jetson Thor: two GPU clocks, input power at an INA238, merged SoC zone."""
    tree = Tree(root)
    _jetson(tree, 0, "soc012", 48_000, 105_000)
    cooler(tree, 3, "devfreq-gpu-gpc-0", 0, 169)
    ina3221(tree, 1, {1: ("VDD_GPU", 19700, 1500), 2: ("VDD_CPU_SOC_MSS", 19700, 900), 3: ("VIN_SYS_5V0", 5000, 600)})
    tree.update({"name": "ina238", "in1_label": "VIN", "power1_input": 55_000_000}, "sys/class/hwmon/hwmon2/")
    for name, clock in (("gpu-gpc-0", 1575000000), ("gpu-nvd-0", 1692000000)):
        tree.update({"cur_freq": clock, "max_freq": clock}, f"sys/class/devfreq/{name}/")
    cpu_clock(tree, 0, 2_601_000, 2_601_000)
    return tree


def gpu_host(root: Path) -> Tree:
    """A server with a discrete GPU: the GPU is NVML's business, the rest is plain Linux."""
    tree = linux(root)
    tree.set("sys/devices/system/cpu/cpu1/topology/physical_package_id", 1)
    return tree


def linux(root: Path) -> Tree:
    """A PC: ACPI zones of one name, coretemp, an NVMe disk, a CPU that counts its throttling."""
    tree = Tree(root)
    host(tree)
    zone(tree, 0, "acpitz", 27_800)
    zone(tree, 1, "acpitz", 29_800)
    zone(tree, 2, "x86_pkg_temp", 55_000)
    cooler(tree, 0, "Processor", 0, 10)
    cooler(tree, 1, "intel_powerclamp", -1, 50)
    tree.update({"name": "acpitz", "temp1_input": 27_800}, "sys/class/hwmon/hwmon0/")
    tree.update({"name": "coretemp", "temp1_input": 55_000, "temp1_label": "Package id 0"}, "sys/class/hwmon/hwmon1/")
    for core in range(2, 12):
        tree.update({f"temp{core}_input": 50_000, f"temp{core}_label": f"Core {core}"}, "sys/class/hwmon/hwmon1/")
    tree.update({"name": "nvme", "temp1_input": 38_850, "temp1_label": "Composite"}, "sys/class/hwmon/hwmon2/")
    tree.set("sys/class/hwmon/hwmon2/temp2_input", 65_261_850)
    tree.update({"name": "nct6775", "fan1_input": 980, "pwm1": 120}, "sys/class/hwmon/hwmon3/")
    for cpu in range(8):
        cpu_clock(tree, cpu, 4_200_000, 4_700_000)
    tree.set("sys/devices/system/cpu/cpu0/topology/physical_package_id", 0)
    throttled = {"package_throttle_count": 3, "package_throttle_total_time_ms": 1200}
    tree.update(throttled, "sys/devices/system/cpu/cpu0/thermal_throttle/")
    return tree
