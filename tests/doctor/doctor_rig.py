# SPDX-License-Identifier: Apache-2.0
"""A machine to examine: a small tree, libraries that stand in for real ones, settings; and cases of what is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from support.daemon import toml
from support.engines import write_model

from edged.doctor.check import Check
from edged.doctor.finding import Finding, Result
from edged.doctor.machine import Machine
from edged.doctor.registry import CHECKS
from edged.doctor.run import findings
from edged.doctor.situation import Situation

REPO = Path(__file__).resolve().parents[2]
SECRET = "hunter2"
CAMERA = f"rtsp://admin:{SECRET}@127.0.0.1:9/stream"
BY_NAME: dict[str, Check] = {check.name: check for check in CHECKS}
NOBODY = 65534


class Rig:
    """Arranges one machine.

    Args:
        folder: of its own, with a short path that everybody may search.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.stack = ExitStack()
        self.config: Path | None = None
        self.probe_limit_s = 30.0
        self.machine: dict[str, Any] = {"uid": 1000}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
        self.environ |= {"PYTHONPATH": f"{folder / 'stubs'}:{REPO}", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}

    def file(self, path: str, text: str = "") -> Path:
        """A file below the root."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def library(self, name: str, text: str) -> None:
        """A Python module that children import instead of the real one."""
        place = self.folder / "stubs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def program(self, name: str, script: str) -> None:
        """A program in the PATH."""
        place = self.folder / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    def settings(self, uri: str = CAMERA, **sections: dict[str, Any]) -> None:
        """Settings with one source and a small model."""
        whole: dict[str, Any] = {
            "daemon": {"state_dir": str(self.folder / "state"), **sections.pop("daemon", {})},
            "model": {"spec": str(write_model(self.folder / "model"))},
            "publish": {"bind": [f"ipc://{self.folder}/p.sock"], **sections.pop("publish", {})},
            "http": {"bind": "", **sections.pop("http", {})},
            **sections,
            "sources": [{"name": "north", "uri": uri}],
        }
        curve = whole["publish"].pop("curve", None)
        text = toml(whole) + (toml({"publish.curve": curve}) if curve else "")
        self.config = self.folder / "edged.toml"
        self.config.write_text(text)

    def situation(self) -> Situation:
        """What the checks look at."""
        machine = Machine(root=self.root, environ=self.environ, **self.machine)
        return Situation(machine, self.config, probe_limit_s=self.probe_limit_s)

    def look(self, name: str) -> Finding:
        """Run one check."""
        (finding,) = findings([BY_NAME[name]], self.situation())
        return finding

    def as_nobody(self) -> None:
        """Let the rest of the test run without root's rights, where it has them."""
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
            self.stack.callback(os.seteuid, 0)


class Case(NamedTuple):
    """What a check should find on a machine.

    Attributes:
        check: its name.
        result: what it should be.
        text: part of what it should say.
        remedy: part of one of its remedies.
        arrange: sets the machine up.
    """

    check: str
    result: Result
    text: str
    remedy: str
    arrange: Callable[[Rig], None]

    @property
    def id(self) -> str:
        """Name of the test."""
        return f"{self.check}-{self.arrange.__name__}"


class Cases(list[Case]):
    """Cases of a part of the machine."""

    def __call__(
        self, check: str, result: Result, text: str, remedy: str = ""
    ) -> Callable[[Callable[[Rig], None]], Callable[[Rig], None]]:
        """Add a case; its name is the function's."""

        def add(arrange: Callable[[Rig], None]) -> Callable[[Rig], None]:
            self.append(Case(check, result, text, remedy, arrange))
            return arrange

        return add


def jetson(rig: Rig, release: str = "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic") -> None:
    """An Orin with JetPack 6."""
    rig.file("/etc/nv_tegra_release", release)
    rig.file("/sys/module/nvgpu/refcnt", "1")


def discrete(rig: Rig, driver: str = "580.65.06") -> None:
    """A discrete GPU with its driver."""
    on_pci(rig)
    rig.file(
        "/proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Tue Jul 1 2025\n"
    )


def on_pci(rig: Rig) -> None:
    """A discrete GPU without driver."""
    rig.file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    rig.file("/sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")


CUDA = """
class CUdevice_attribute:
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = {major}
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = {minor}
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 0
    CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED = 1
def cuDriverGetVersion(): return 0, {driver}
def cuInit(flags): return ({init},)
def cuDeviceGet(index): return 0, index
def cuDevicePrimaryCtxSetFlags(device, flags): return (0,)
def cuDevicePrimaryCtxRetain(device): return 0, 7
def cuDevicePrimaryCtxRelease(device): return (0,)
def cuCtxSetCurrent(context): return (0,)
def cuCtxSynchronize(): return (0,)
def cuDeviceGetName(size, device): return 0, b"Orin"
def cuDeviceGetAttribute(member, device): return 0, member
def cuDeviceTotalMem(device): return 0, 8 << 30
def cuDeviceGetPCIBusId(size, device): return 0, b"0000:01:00.0"
def cuGetProcAddress(name, version, flags): return 0, 4096, 0
def cuMemGetInfo(): return 0, {free} << 20, 8 << 30
"""

TENSORRT = """
__version__ = "{version}"
class ILogger:
    def __init__(self): pass
class Severity:
    name = "ERROR"
class Runtime:
    def __init__(self, logger):
        if {fails!r}:
            logger.log(Severity, {fails!r})
            raise TypeError("factory function returned nullptr")
class BuilderFlag:
    FP16 = 1
class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH = 0
def init_libnvinfer_plugins(logger, name): {starting}
"""


def cuda(
    rig: Rig,
    bindings: str = "12.9.10",
    driver: int = 12060,
    init: int = 0,
    free: int = 4096,
    capability: tuple[int, int] = (8, 7),
) -> None:
    """CUDA's bindings on a GPU."""
    major, minor = capability
    rig.library("cuda/bindings/__init__.py", f'__version__ = "{bindings}"\n')
    rig.library("cuda/bindings/driver.py", CUDA.format(driver=driver, init=init, free=free, major=major, minor=minor))


def tensorrt(rig: Rig, version: str = "10.3.0", fails: str = "", starting: str = "pass") -> None:
    """A TensorRT."""
    rig.library("tensorrt/__init__.py", TENSORRT.format(version=version, fails=fails, starting=starting))


def wheel(rig: Rig, name: str, version: str) -> None:
    """What pip leaves of an installed package."""
    rig.library(f"{name.replace('-', '_')}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")


def opencv(rig: Rig, built: str = "v4l/v4l2: YES\\n GStreamer: NO") -> None:
    """An OpenCV that does next to nothing."""
    rig.library(
        "cv2.py",
        f'__version__ = "4.5.4"\ndef getBuildInformation(): return "{built}"\ndef resize(*a, **k): return None\n',
    )


CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
HANG = "import threading\nthreading.Event().wait()\n"
PYTHON_MINOR = sys.version_info.minor
