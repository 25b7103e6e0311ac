# SPDX-License-Identifier: Apache-2.0
"""What the kernel has to have, and its clocks."""

from __future__ import annotations

import os

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, UNAVAILABLE, Outcome, ok, problem, skipped, warning
from edged.doctor.situation import Situation
from edged.doctor.versions import numbers
from edged.errors import EdgedError
from edged.shm.lock import FileLock
from edged.shm.wake import Wake

_OLDEST = (3, 17)
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
_FAST_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")


def _kernel(situation: Situation) -> Outcome:
    release = situation.machine.text("/proc/sys/kernel/osrelease") or "unknown"
    evidence = [f"/proc/sys/kernel/osrelease: {release}"]
    update = "sudo apt full-upgrade && sudo reboot  # a Jetson: flash JetPack 6 or later"
    if release != "unknown" and numbers(release) < _OLDEST:
        return problem(f"kernel {release} has no memfd", [*evidence, "memfd came with 3.17"], [update])
    try:
        _try_shared_memory()
    except (OSError, EdgedError) as error:
        noexec = situation.machine.text("/proc/sys/vm/memfd_noexec")
        return problem(
            "shared memory between processes does not work",
            [*evidence, f"{type(error).__name__}: {error}", f"/proc/sys/vm/memfd_noexec: {noexec or 'not there'}"],
            ["sudo sysctl vm.memfd_noexec=0  # if it is 2; in a container allow memfd_create and eventfd", update],
        )
    return ok(f"{release}: memfd, record locks and eventfd work", evidence)


def _try_shared_memory() -> None:
    """Take a lock on a memory file and wake oneself: what every process of the daemon does.

    Raises:
        OSError: the kernel, or a filter of system calls, does not let it.
        SharedMemoryError: the lock does not behave.
    """
    fd = os.memfd_create("edged-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        lock, other = FileLock(fd), FileLock(fd)
        try:
            lock.acquire()
            if other.try_acquire():
                raise OSError("two parties hold the same record lock")
        finally:
            lock.close()
            other.close()
    finally:
        os.close(fd)
    wake = Wake()
    wake.set()
    wake.close()


KERNEL = Check("kernel", "the kernel: memory files, record locks, eventfd", UNAVAILABLE, _kernel)


def _clock_source(situation: Situation) -> Outcome:
    folder = "/sys/devices/system/clocksource/clocksource0"
    current = situation.machine.text(f"{folder}/current_clocksource")
    available = situation.machine.text(f"{folder}/available_clocksource") or ""
    if not current:
        return skipped("the kernel does not tell its clock source")
    evidence = [f"{folder}/current_clocksource: {current}", f"available: {available}"]
    if current not in _SLOW_CLOCKS:
        return ok(current, evidence)
    better = next((name for name in _FAST_CLOCKS if name in available.split()), None)
    remedy = ["sudo dmesg | grep -i clocksource  # tells why; a firmware update may mend it"]
    if better is not None:
        remedy.insert(0, f"echo {better} | sudo tee {folder}/current_clocksource")
    return warning(f"{current}: every look at the clock is a slow access to hardware", evidence, remedy)


CLOCK_SOURCE = Check("clock-source", "which hardware the kernel reads the time from", CONFIGURATION, _clock_source)


def _time_sync(situation: Situation) -> Outcome:
    machine = situation.machine
    mark = "/run/systemd/timesync/synchronized"
    evidence = [f"{mark} is {'' if machine.at(mark).exists() else 'not '}there"]
    if machine.at(mark).exists():
        return ok("synchronised by systemd-timesyncd", evidence)
    disciplined = machine.clock_synchronised() if machine.real else None
    if disciplined:
        return ok("synchronised (the kernel says so)", [*evidence, "adjtimex: synchronised"])
    evidence.append("adjtimex: " + ("unknown" if disciplined is None else "not synchronised"))
    return warning(
        "the clock is not synchronised: times in messages drift from other machines'",
        evidence,
        ["sudo timedatectl set-ntp true  # or install chrony; then look at timedatectl timesync-status"],
    )


TIME_SYNC = Check("time-sync", "whether the clock is set by a time server", CONFIGURATION, _time_sync)
