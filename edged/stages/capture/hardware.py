# SPDX-License-Identifier: Apache-2.0
"""Which of NVIDIA's decoders a machine may have. Looks at files only: no OpenCV, no GStreamer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Board = Literal["jetson", "discrete"]


def board(root: Path = Path("/")) -> Board | None:
    """What kind of NVIDIA device decodes here; None where there is none.

    Args:
        root: of the file system.
    """
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes()
    except OSError:
        compatible = b""
    if b"nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists():
        return "jetson"
    return "discrete" if (root / "dev/nvidiactl").exists() else None
