# SPDX-License-Identifier: Apache-2.0
"""The machine as files below a root, so that a captured tree can stand in for a board."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Hardware = Literal["jetson", "discrete", "wsl", "none"]
_MOST_BYTES = 1 << 18
_DISPLAY_CLASS = "0x03"
_NVIDIA = "0x10de"
_TIMEX_BYTES = 512  # struct timex has about 208; modes = 0 only asks
_TIME_ERROR = 5


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on a folder's disk, bytes."""
    return shutil.disk_usage(folder).free


def clock_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined by anybody (adjtimex); None where it does not say."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


@dataclass(frozen=True)
class Machine:
    """Where to look.

    Attributes:
        root: stands in for ``/``.
        environ: environment variables, also of child processes.
        prefix: of the Python environment, as ``sys.prefix``.
        uid: of the user that asks.
        free_bytes: asks how much room a folder's disk has.
        clock_synchronised: asks the kernel; only where the root is the real one.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    prefix: Path = field(default_factory=lambda: Path(sys.prefix))
    uid: int = field(default_factory=os.geteuid)
    free_bytes: Callable[[Path], int] = free_bytes
    clock_synchronised: Callable[[], bool | None] = clock_synchronised

    @property
    def real(self) -> bool:
        """Whether this is the machine itself."""
        return self.root == Path("/")

    def at(self, path: str | Path) -> Path:
        """An absolute path, below the root."""
        return self.root / str(path).lstrip("/")

    def shown(self, path: Path) -> str:
        """A path below the root, as the machine itself would call it."""
        return "/" + str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def text(self, path: str | Path) -> str | None:
        """A file's text without white space around; None where it is not there or tells nothing.

        Files of sysfs may refuse to be read (a sensor that is switched off): that is no knowledge, and no error.
        """
        try:
            with (path if isinstance(path, Path) else self.at(path)).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").replace("\0", " ").strip()
        except OSError:
            return None

    def number(self, path: str | Path) -> int | None:
        """The number in a file; None where there is none."""
        try:
            return int(self.text(path) or "")
        except ValueError:
            return None

    def glob(self, pattern: str) -> list[Path]:
        """Paths that match, in order of their names."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def may(self, path: Path, mode: int) -> bool:
        """Whether this process may read, write or search a path: what the kernel says, not what groups suggest."""
        return os.access(path, mode, effective_ids=True)

    def hardware(self) -> Hardware:
        """Which kind of NVIDIA GPU is there, whether or not it works."""
        compatible = self.text("/proc/device-tree/compatible") or ""
        if self.at("/etc/nv_tegra_release").exists() or "nvidia,tegra" in compatible:
            return "jetson"
        if self.glob("/dev/nvidia[0-9]*") or self.at("/proc/driver/nvidia/version").exists() or self.on_pci():
            return "discrete"
        return "wsl" if self.at("/dev/dxg").exists() else "none"

    def on_pci(self) -> list[Path]:
        """NVIDIA's graphics devices on the PCI bus."""
        return [
            device
            for device in self.glob("/sys/bus/pci/devices/*")
            if self.text(device / "vendor") == _NVIDIA
            and (self.text(device / "class") or "").startswith(_DISPLAY_CLASS)
        ]
