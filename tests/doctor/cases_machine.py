# SPDX-License-Identifier: Apache-2.0
"""Cases: user, kernel, memory, limits, power, heat, time."""

from __future__ import annotations

from doctor.doctor_rig import Cases, Rig, discrete, jetson

CASES = case = Cases()


@case("user", "warning", "root may do everything", "sudo -u edged")
def root_beside_a_service(rig: Rig) -> None:
    rig.machine["uid"] = 0
    rig.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nedged:x:990:990::/var/lib/edged:/usr/sbin/nologin\n")


@case("user", "ok", "1000")
def ordinary_user(rig: Rig) -> None:
    rig.machine["uid"] = 1000


@case("kernel", "problem", "3.10.0-1160.el7.x86_64 has no memfd", "full-upgrade")
def old_kernel(rig: Rig) -> None:
    rig.file("/proc/sys/kernel/osrelease", "3.10.0-1160.el7.x86_64\n")


@case("kernel", "ok", "5.15.148-tegra")
def kernel(rig: Rig) -> None:
    rig.file("/proc/sys/kernel/osrelease", "5.15.148-tegra\n")


def _memory(rig: Rig, total: int, available: int, swap: int = 0) -> None:
    """MiB."""
    rig.file(
        "/proc/meminfo",
        f"MemTotal: {total << 10} kB\nMemAvailable: {available << 10} kB\n"
        f"SwapTotal: {swap << 10} kB\nSwapFree: {swap << 10} kB\n",
    )


@case("memory", "problem", "100 MiB of memory and swap are free", "ps aux")
def no_memory(rig: Rig) -> None:
    rig.settings()
    _memory(rig, 1024, 100)


@case("memory", "warning", "it would swap", "max_batch")
def memory_only_with_swap(rig: Rig) -> None:
    rig.settings()
    _memory(rig, 1024, 100, 2048)


@case("memory", "ok", "4000 MiB free")
def memory(rig: Rig) -> None:
    rig.settings()
    _memory(rig, 8192, 4000)


@case("unified-memory", "problem", "a build may take 1024 MiB", "workspace_mb = 400")
def no_memory_for_a_build(rig: Rig) -> None:
    jetson(rig)
    rig.settings()
    _memory(rig, 4096, 800)


@case("unified-memory", "warning", "little swap", "swapon")
def small_board_without_swap(rig: Rig) -> None:
    jetson(rig)
    _memory(rig, 7620, 5000)


@case("unified-memory", "warning", "copied within", "auto")
def copies_on_a_board(rig: Rig) -> None:
    jetson(rig)
    rig.settings(engine={"io": "copy"})
    _memory(rig, 32768, 30000)


@case("unified-memory", "ok", "a build fits")
def large_board(rig: Rig) -> None:
    jetson(rig)
    _memory(rig, 32768, 30000)


def _files(rig: Rig, most: int) -> None:
    rig.settings()
    rig.file("/proc/self/limits", f"Max open files            {most}                 {most}              files\n")


@case("file-descriptors", "problem", "64 open files are allowed", "LimitNOFILE")
def few_descriptors(rig: Rig) -> None:
    _files(rig, 64)


@case("file-descriptors", "ok", "1024 open files allowed")
def many_descriptors(rig: Rig) -> None:
    _files(rig, 1024)


@case("cgroup", "problem", "64 MiB", "MemoryMax")
def group_without_memory(rig: Rig) -> None:
    rig.settings()
    rig.file("/proc/self/cgroup", "0::/system.slice/edged.service\n")
    rig.file("/sys/fs/cgroup/system.slice/edged.service/memory.max", "max\n")
    rig.file("/sys/fs/cgroup/system.slice/memory.max", f"{64 << 20}\n")


@case("cgroup", "problem", "10 tasks", "TasksMax")
def old_group_with_few_tasks(rig: Rig) -> None:
    rig.file("/proc/self/cgroup", "8:pids:/box\n4:memory:/box\n")
    rig.file("/sys/fs/cgroup/pids/box/pids.max", "10\n")
    rig.file("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n")


@case("cgroup", "ok", "no limit")
def group_without_limit(rig: Rig) -> None:
    rig.file("/proc/self/cgroup", "0::/\n")
    rig.file("/sys/fs/cgroup/memory.max", "max\n")


_MODES = "< POWER_MODEL ID=0 NAME=15W >\nCPU 1\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


def _mode(rig: Rig, number: int) -> None:
    jetson(rig)
    rig.file("/etc/nvpmodel.conf", f"{_MODES}< POWER_MODEL ID=3 NAME=7W >\n< PM_CONFIG DEFAULT=1 >\n")
    rig.file("/var/lib/nvpmodel/status", f"pmode:{number:04d}\n")


@case("power-mode", "warning", "power mode 15W; the fastest is MAXN_SUPER", "nvpmodel -m 2")
def slow_power_mode(rig: Rig) -> None:
    _mode(rig, 0)


@case("power-mode", "ok", "MAXN_SUPER")
def fastest_power_mode(rig: Rig) -> None:
    _mode(rig, 2)


@case("power-mode", "warning", "150 W of 350 W", "--power-limit=350")
def limited_gpu(rig: Rig) -> None:
    discrete(rig)
    rig.program("nvidia-smi", "echo '150.00, 350.00'")


@case("power-mode", "skipped", "does not tell")
def gpu_without_a_limit(rig: Rig) -> None:
    discrete(rig)
    rig.program("nvidia-smi", "echo '[N/A], [N/A]'")


def _clocks(rig: Rig, cpu: int, gpu: int) -> None:
    jetson(rig)
    rig.file("/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", str(cpu))
    rig.file("/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1728000")
    rig.file("/sys/class/devfreq/17000000.gpu/max_freq", str(gpu))
    rig.file("/sys/class/devfreq/17000000.gpu/available_frequencies", "306000000 612000000 1020000000")
    rig.file("/sys/class/devfreq/15340000.vic/max_freq", "1")
    rig.file("/sys/class/devfreq/15340000.vic/available_frequencies", "1 2")


@case("clocks", "warning", "GPU 17000000.gpu at 612 of 1020 MHz", "jetson_clocks")
def capped_gpu(rig: Rig) -> None:
    _clocks(rig, 1728000, 612000000)


@case("clocks", "warning", "CPU policy0 at 960 of 1728 MHz", "scaling_max_freq")
def capped_cpu(rig: Rig) -> None:
    _clocks(rig, 960000, 1020000000)


@case("clocks", "ok", "2 clocks")
def free_clocks(rig: Rig) -> None:
    _clocks(rig, 1728000, 1020000000)


def _zone(rig: Rig, number: int, name: str, milli: int) -> None:
    zone = f"/sys/class/thermal/thermal_zone{number}"
    rig.file(f"{zone}/type", name)
    rig.file(f"{zone}/temp", str(milli))
    for place, (kind, trip) in enumerate((("active", 40000), ("passive", 95000), ("critical", 104500))):
        rig.file(f"{zone}/trip_point_{place}_type", kind)
        rig.file(f"{zone}/trip_point_{place}_temp", str(trip))


@case("temperature", "problem", "too hot: gpu-thermal 96.5 °C", "fan")
def too_hot(rig: Rig) -> None:
    _zone(rig, 0, "cpu-thermal", 50000)
    _zone(rig, 1, "gpu-thermal", 96500)


@case("temperature", "warning", "near its limit: gpu-thermal 88 °C", "fan")
def nearly_too_hot(rig: Rig) -> None:
    _zone(rig, 0, "gpu-thermal", 88000)


@case("temperature", "ok", "cpu-thermal 50 °C")
def cool_and_a_sensor_that_is_off(rig: Rig) -> None:
    _zone(rig, 0, "gpu-thermal", -256000)
    _zone(rig, 1, "cpu-thermal", 50000)


@case("temperature", "skipped", "no sensor")
def no_sensor(rig: Rig) -> None:
    rig.file("/sys/class/thermal/thermal_zone0/type", "cv0-thermal")


@case("throttling", "problem", "gpu-throttle-alert", "supply")
def throttled_board(rig: Rig) -> None:
    rig.file("/sys/class/thermal/cooling_device0/type", "gpu-throttle-alert")
    rig.file("/sys/class/thermal/cooling_device0/cur_state", "1")


@case("throttling", "problem", "hardware thermal slowdown", "fan")
def throttled_gpu(rig: Rig) -> None:
    discrete(rig)
    rig.program("nvidia-smi", 'case "$*" in *clocks_throttle*) echo 0x0000000000000048;; *) exit 2;; esac')


@case("throttling", "warning", "since the last boot", "supply")
def over_current(rig: Rig) -> None:
    rig.file("/sys/class/hwmon/hwmon3/oc2_event_cnt", "7")


@case("throttling", "ok", "nothing is slowed down")
def only_the_fan_runs(rig: Rig) -> None:
    rig.file("/sys/class/thermal/cooling_device0/type", "pwm-fan")
    rig.file("/sys/class/thermal/cooling_device0/cur_state", "3")


@case("time-sync", "warning", "not synchronised", "timedatectl set-ntp")
def clock_on_its_own(rig: Rig) -> None:
    rig.file("/run/systemd/.keep")


@case("time-sync", "ok", "systemd-timesyncd")
def synchronised_clock(rig: Rig) -> None:
    rig.file("/run/systemd/timesync/synchronized")


_CLOCK = "/sys/devices/system/clocksource/clocksource0"


@case("clock-source", "warning", "hpet", "echo tsc")
def slow_clock(rig: Rig) -> None:
    rig.file(f"{_CLOCK}/current_clocksource", "hpet\n")
    rig.file(f"{_CLOCK}/available_clocksource", "tsc hpet acpi_pm\n")


@case("clock-source", "ok", "arch_sys_counter")
def fast_clock(rig: Rig) -> None:
    rig.file(f"{_CLOCK}/current_clocksource", "arch_sys_counter\n")
