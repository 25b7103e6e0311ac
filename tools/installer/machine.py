# SPDX-License-Identifier: Apache-2.0
"""What the installer has to know of the machine. Python's own library only: nothing is installed yet."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.installer.reach import interpreter

_CUDA_13_DRIVER, _CUDA_12_DRIVER = 580, 525


@dataclass(frozen=True)
class Machine:
    """One machine.

    Attributes:
        jetson: whether it is one; its TensorRT and OpenCV are the system's.
        csi: whether it has NVIDIA's camera daemon.
        driver: major version of the NVIDIA driver of a discrete GPU; 0 without one.
        systemd: its version; 0 without.
        numpy_1: whether the system's NumPy, for which its OpenCV is made, is older than 2.
    """

    jetson: bool = False
    csi: bool = False
    driver: int = 0
    systemd: int = 0
    numpy_1: bool = False

    @property
    def extra(self) -> str:
        """The extra of the package that has the TensorRT this driver can run; empty for none."""
        if self.jetson or self.driver < _CUDA_12_DRIVER:
            return ""
        return "tensorrt-cu13" if self.driver >= _CUDA_13_DRIVER else "tensorrt-cu12"

    @property
    def drop_ins(self) -> list[str]:
        """Which of ``systemd/drop-ins`` fit."""
        found = ["jetson"] if self.jetson else []
        if self.csi:
            found.append("jetson-csi")
        if self.driver and not self.jetson:
            found.append("discrete-gpu")
        if self.systemd >= 254:
            found.append("newer-systemd")
        return found

    def __str__(self) -> str:
        kind = "a Jetson" if self.jetson else f"an NVIDIA GPU, driver {self.driver}" if self.driver else "no NVIDIA GPU"
        return f"{kind}; systemd {self.systemd or 'is missing'}; Python {sys.version.split()[0]} ({interpreter()})"


def look(root: Path = Path("/")) -> Machine:
    """Look at the machine, or at the file system of another one.

    Args:
        root: of its file system.
    """
    jetson = (root / "etc/nv_tegra_release").exists()
    here = root == Path("/")
    return Machine(
        jetson=jetson,
        csi=jetson and any(root.glob("*/systemd/system/nvargus-daemon.service")),
        driver=0 if jetson else _driver(root / "proc/driver/nvidia/version"),
        systemd=_systemd() if here else 0,
        numpy_1=jetson and here and _system_numpy().startswith("1."),
    )


def _driver(path: Path) -> int:
    try:
        found = re.search(r"\s(\d{3,4})\.\d+", path.read_text(errors="replace"))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _systemd() -> int:
    found = re.match(r"systemd (\d+)", _output("systemctl", "--version"))
    return int(found[1]) if found else 0


def _system_numpy() -> str:
    return _output(sys.executable, "-I", "-c", "import numpy; print(numpy.__version__)")


def _output(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        return ""
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False).stdout
