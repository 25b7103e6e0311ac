# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver: loaded, of one version, and with nodes that may be used."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path

from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import UNAVAILABLE, Outcome, SkippedError, ok, problem, skipped
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation

_OLDEST = 525
"""Of the drivers: the first that brings CUDA 12."""
_OLDEST_L4T = 36
"""JetPack 6: the first with a Python that edged runs on."""
_VERSION = re.compile(r"\b(\d{3}\.\d+(?:\.\d+)?)\b")
_L4T = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_LIBRARY_FOLDERS = (
    "usr/lib/*-linux-gnu",
    "usr/lib/*-linux-gnu/nvidia/current",
    "usr/lib64",
    "usr/lib",
    "usr/local/nvidia/lib64",
)
_CONTAINER = "in a container: give it the GPU (docker run --gpus all …)"
_INSTALL = "sudo ubuntu-drivers install && sudo reboot  # other systems: the distribution's NVIDIA driver package"
_NODES = {
    "discrete": ("/dev/nvidiactl", "/dev/nvidia[0-9]*", "/dev/nvidia-uvm"),
    "jetson": ("/dev/nvmap", "/dev/nvhost-*", "/dev/nvgpu/igpu0/*", "/dev/dri/renderD*"),
    "wsl": ("/dev/dxg",),
}
_NEEDED = {"discrete": ("/dev/nvidiactl", "/dev/nvidia[0-9]*"), "jetson": ("/dev/nvmap",), "wsl": ("/dev/dxg",)}
_NOT_FOR_COMPUTING = re.compile(r"prof|dbg")


def _driver(situation: Situation) -> Outcome:
    machine = situation.machine
    hardware = machine.hardware()
    settings = situation.known_settings
    if hardware == "none":
        if settings is None or settings.engine.backend != "tensorrt":
            return skipped("no NVIDIA GPU: ONNX Runtime runs the model")
        return problem(
            'there is no NVIDIA GPU, and engine.backend is "tensorrt"',
            ["no NVIDIA device in /sys/bus/pci/devices, no /dev/nvidia*, no /etc/nv_tegra_release"],
            ['[engine] backend = "auto"  # in the settings', _CONTAINER],
        )
    situation.need_gpu()
    if hardware == "jetson":
        return _jetson(machine)
    if hardware == "wsl":
        return ok("the driver of Windows, through /dev/dxg", ["/dev/dxg exists"])
    return _discrete(machine)


def _jetson(machine: Machine) -> Outcome:
    release = machine.text("/etc/nv_tegra_release") or ""
    found = _L4T.search(release)
    evidence = [f"/etc/nv_tegra_release: {release.splitlines()[0]}"] if release else ["no /etc/nv_tegra_release"]
    if found is not None and int(found[1]) < _OLDEST_L4T:
        return problem(
            f"L4T {found[1]}.{found[2]} is too old",
            evidence,
            ["flash JetPack 6 or later: edged needs Python 3.10, CUDA 12 and TensorRT 8.6"],
        )
    if not any(machine.at(f"/sys/module/{name}").exists() for name in ("nvgpu", "nvidia")):
        return problem(
            "the GPU's driver is not loaded",
            [*evidence, "neither /sys/module/nvgpu nor /sys/module/nvidia"],
            ["sudo modprobe nvgpu  # Thor: sudo modprobe nvidia", "sudo dmesg | grep -i -E 'nvgpu|nvidia'"],
        )
    return ok(f"L4T {found[1]}.{found[2]}" if found else "a Jetson; its L4T version is not known", evidence)


def _kernel_version(machine: Machine) -> str | None:
    for path in ("/proc/driver/nvidia/version", "/sys/module/nvidia/version"):
        found = _VERSION.search(machine.text(path) or "")
        if found:
            return found[1]
    return None


def _discrete(machine: Machine) -> Outcome:
    version = _kernel_version(machine)
    if version is None:
        evidence = [f"{machine.shown(device)} is an NVIDIA GPU" for device in machine.on_pci()]
        evidence.append("no /proc/driver/nvidia/version: the module nvidia is not loaded")
        if machine.at("/sys/module/nouveau").exists():
            blacklist = "echo 'blacklist nouveau' | sudo tee /etc/modprobe.d/edged-nouveau.conf"
            evidence.append("the module nouveau holds the GPU")
            return problem(
                "nouveau is loaded instead of NVIDIA's driver",
                evidence,
                [_INSTALL, f"{blacklist} && sudo update-initramfs -u"],
            )
        return problem("the NVIDIA driver is not loaded", evidence, [_INSTALL, "sudo modprobe nvidia", _CONTAINER])
    evidence = [f"/proc/driver/nvidia/version: {version}"]
    if int(version.split(".")[0]) < _OLDEST:
        return problem(f"driver {version} is older than CUDA 12", evidence, [f"install {_OLDEST} or later: {_INSTALL}"])
    return ok(f"driver {version}", evidence)


DRIVER = Check("driver", "the NVIDIA driver and its version", UNAVAILABLE, _driver)


def _driver_library(situation: Situation) -> Outcome:
    situation.need_gpu()
    machine = situation.machine
    situation.need("discrete", "only discrete GPUs have a driver library of their own")
    loaded = _kernel_version(machine)
    if loaded is None:
        raise SkippedError("the driver is not loaded, see driver")
    found = {
        path.name.removeprefix("libcuda.so."): machine.shown(path)
        for folder in _LIBRARY_FOLDERS
        for path in machine.glob(f"/{folder}/libcuda.so.*.*")
    }
    evidence = [f"the kernel module is {loaded}", *(f"{path}" for path in found.values())]
    if not found and "cuda" in situation.ask("cuda", device=situation.device).facts:
        return ok("libcuda lies somewhere else, and works", evidence)
    if not found:
        apt = f"sudo apt install libnvidia-compute-{loaded.split('.')[0]}"
        return problem(
            "the driver's library libcuda is not installed",
            [*evidence, f"no libcuda.so.{loaded} in {', '.join(_LIBRARY_FOLDERS)}"],
            [apt, "in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
        )
    if loaded not in found:
        return problem(
            f"the driver was updated and is still loaded in its old version {loaded}", evidence, ["sudo reboot"]
        )
    return ok(f"libcuda {loaded}, as the kernel module", evidence)


DRIVER_LIBRARY = Check(
    "driver-library", "libcuda against the kernel module that is loaded", UNAVAILABLE, _driver_library, PROBE_LIMIT_S
)


def _device_nodes(situation: Situation) -> Outcome:
    situation.need_gpu()
    machine = situation.machine
    hardware = machine.hardware()
    nodes = [
        node
        for pattern in _NODES[hardware]
        for node in machine.glob(pattern)
        if not _NOT_FOR_COMPUTING.search(node.name)
    ]
    missing = [pattern for pattern in _NEEDED[hardware] if not machine.glob(pattern)]
    if missing:
        return problem(
            f"there is no {' and no '.join(missing)}",
            [f"nothing matches {' '.join(missing)}", *map(machine.shown, nodes)],
            ["sudo nvidia-modprobe -c 0 -u", _CONTAINER],
        )
    denied = [node for node in nodes if not machine.may(node, os.R_OK | os.W_OK)]
    if not denied:
        return ok(f"{len(nodes)} nodes may be read and written", map(machine.shown, nodes))
    remedy = [f"sudo usermod -aG video,render {_user_name(machine.uid)}  # and log in again, or restart the service"]
    closed = [node.name for node in denied if not _group_may(node)]
    if closed:
        rule = f'KERNEL=="{closed[0]}", GROUP="video", MODE="0660"'
        remedy.append(f"echo '{rule}' | sudo tee -a /etc/udev/rules.d/99-edged.rules && sudo udevadm trigger")
    return problem(
        f"this user may not use {', '.join(map(machine.shown, denied[:4]))}",
        [_rights(machine, node) for node in denied],
        remedy,
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_may(node: Path) -> bool:
    status = node.stat()
    return status.st_gid != 0 and status.st_mode & 0o060 == 0o060


def _rights(machine: Machine, node: Path) -> str:
    status = node.stat()
    return f"{machine.shown(node)}: mode {stat.S_IMODE(status.st_mode):04o}, uid {status.st_uid}, gid {status.st_gid}"


DEVICE_NODES = Check("device-nodes", "the GPU's device nodes, by trying access", UNAVAILABLE, _device_nodes)


def _nvidia_uvm(situation: Situation) -> Outcome:
    situation.need_gpu()
    situation.need("discrete", "only discrete GPUs have nvidia-uvm")
    machine = situation.machine
    modules = machine.text("/proc/modules") or ""
    loaded = (
        re.search(r"^nvidia_uvm\b", modules, re.MULTILINE) is not None or machine.at("/sys/module/nvidia_uvm").exists()
    )
    node = machine.at("/dev/nvidia-uvm").exists()
    if loaded and node:
        return ok("loaded, and its node is there", ["nvidia_uvm in /proc/modules", "/dev/nvidia-uvm"])
    evidence = [
        f"nvidia_uvm is {'' if loaded else 'not '}in /proc/modules",
        f"/dev/nvidia-uvm is {'' if node else 'not '}there",
    ]
    remedy = [
        "sudo nvidia-modprobe -u -c=0  # or sudo modprobe nvidia-uvm",
        "echo nvidia-uvm | sudo tee /etc/modules-load.d/edged.conf  # so that it is there at the next boot",
    ]
    what = "its device node is missing" if loaded else "not loaded: CUDA cannot start, and a service may not load it"
    return problem(what, evidence, remedy)


NVIDIA_UVM = Check("nvidia-uvm", "the kernel module nvidia-uvm, which CUDA needs", UNAVAILABLE, _nvidia_uvm)
