# SPDX-License-Identifier: Apache-2.0
"""All sensors of this machine, whatever it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edged.errors import DeviceUnavailableError
from edged.monitor.readings import Reading
from edged.monitor.sensors_clocks import CpuClocks, DevfreqGpu
from edged.monitor.sensors_files import glance
from edged.monitor.sensors_host import CpuThrottle, HostLoad, HostMemory, NvpModel
from edged.monitor.sensors_hwmon import Hwmon
from edged.monitor.sensors_nvml import AnswersOfGpu, NoNvml, NvmlSensors
from edged.monitor.sensors_sheet import Part, Sheet
from edged.monitor.sensors_zones import Zones


class MachineSensors:
    """Finds the sensors once and reads them as often as wanted.

    Found by what they are, never by a number, which changes from boot to boot. Where sysfs knows the GPU (a Jetson),
    NVML is not asked. What fails while it is read is unknown in that reading.

    Args:
        root: of the file system; another one in tests.
        open_gpu: opens NVML for the GPU in use (`edged.gpu.nvml.open_gpu` with its PCI address); called only where
            sysfs knows no GPU. None where there is none. Where it raises DeviceUnavailableError the GPU is unknown
            in every reading, with that reason; the rest works.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        open_gpu: Callable[[], AnswersOfGpu] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        devfreq, zones = DevfreqGpu(root), Zones(root)
        parts: list[Part] = [zones, Hwmon(root, zones.names), NvpModel(root)]
        if devfreq.found:
            parts.append(devfreq)
        elif open_gpu is not None:
            parts.append(_nvml(open_gpu))
        shared = devfreq.found or glance(root / "sys/firmware/devicetree/base/compatible").find("nvidia,tegra") >= 0
        parts += [CpuClocks(root), HostLoad(root), CpuThrottle(root), HostMemory(root, "unified" if shared else "host")]
        self._parts = tuple(parts)

    def read(self) -> Reading:
        """One look at everything; never raises for a sensor that fails."""
        sheet = Sheet(self._clock())
        for part in self._parts:
            part.read(sheet)
        return sheet.reading()

    def close(self) -> None:
        """Close files and NVML."""
        for part in self._parts:
            part.close()


def _nvml(open_gpu: Callable[[], AnswersOfGpu]) -> Part:
    try:
        return NvmlSensors(open_gpu())
    except DeviceUnavailableError as error:
        return NoNvml(error.what)
