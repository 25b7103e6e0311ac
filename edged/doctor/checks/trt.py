# SPDX-License-Identifier: Apache-2.0
"""TensorRT: whether it can be imported, from where, and whether it fits the driver and the GPU."""

from __future__ import annotations

import re
from typing import Any

from edged.doctor.apart import Answer
from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.checks.cuda import answer as cuda_answer
from edged.doctor.checks.cuda import driver_cuda
from edged.doctor.finding import UNAVAILABLE, Outcome, SkippedError, ok, problem
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation
from edged.doctor.versions import numbers

_OLDEST = (8, 6)
_LEAST_CAPABILITY = (((10, 5), (7, 5)), ((10, 0), (7, 0)))
"""From which version on TensorRT wants which compute capability: NVIDIA's support matrix of 10.1.0 ("SM 7.0 or higher")
and the release notes of 10.5.0 ("Volta Support Removed")."""
_BLACKWELL, _KNOWS_BLACKWELL = (10, 0), (10, 8)
"""Release notes of 10.8.0: the first that supports GPUs of compute capability 10.0 and above."""
_SYSTEM = re.compile(r"^/usr/lib(?:64)?/python3")
_ON_JETSON = (
    "sudo apt install python3-libnvinfer",
    "/usr/bin/python3 -m venv --system-site-packages DIR  # and install edged there",
)
_ELSEWHERE = "pip install 'edged[tensorrt-cu12]'  # driver with CUDA 13: 'edged[tensorrt-cu13]'"


def _answer(situation: Situation) -> Answer:
    situation.need_gpu()
    return situation.ask("tensorrt")


def origin(machine: Machine, facts: dict[str, Any]) -> str:
    """Where TensorRT was imported from: ``system``, ``venv`` or ``wheel`` (outside a virtual environment)."""
    place = str(facts["at"])
    if _SYSTEM.match(place):
        return "system"
    return "venv" if (machine.prefix / "pyvenv.cfg").exists() and place.startswith(str(machine.prefix)) else "wheel"


def _tensorrt(situation: Situation) -> Outcome:
    given = _answer(situation)
    machine = situation.machine
    jetson = machine.hardware() == "jetson"
    if "version" not in given.facts:
        return given.outcome(_ON_JETSON if jetson else (_ELSEWHERE,))
    version, where = given.facts["version"], origin(machine, given.facts)
    packages: list[str] = given.facts["packages"]
    evidence = [f"imported from {given.facts['at']} ({where})", *packages]
    if jetson and where != "system":
        names = " ".join(name.split()[0] for name in packages) or "tensorrt"
        return problem(
            f"{version} is a wheel, and those do not run on this board",
            evidence,
            [f"pip uninstall {names}", *_ON_JETSON],
        )
    if numbers(version) < _OLDEST:
        return problem(f"{version} is older than 8.6", evidence, _ON_JETSON if jetson else (_ELSEWHERE,))
    return ok(f"{version}, from the {where}", evidence)


TENSORRT = Check("tensorrt", "TensorRT: importable, and from where", UNAVAILABLE, _tensorrt, PROBE_LIMIT_S)


def _fit(situation: Situation) -> Outcome:
    given = _answer(situation)
    if "version" not in given.facts:
        raise SkippedError("TensorRT cannot be imported, see tensorrt")
    version = given.facts["version"]
    if not given.done:
        return given.outcome(
            [*given.remedy, f"reinstall it: {_ELSEWHERE}", "see the findings of driver, nvidia-uvm and gpu"]
        )
    cuda = cuda_answer(situation)
    driver, wanted = driver_cuda(cuda), _cuda_of(given.facts)
    evidence = [f"TensorRT {version}", *given.facts["libraries"]]
    if driver and wanted and wanted > driver[0]:
        return problem(
            f"TensorRT {version} for CUDA {wanted} on a driver with CUDA {driver[0]}.{driver[1]}",
            evidence,
            [f"pip install 'edged[tensorrt-cu{driver[0]}]'", f"or install a driver with CUDA {wanted}"],
        )
    capability = tuple(cuda.facts.get("compute_capability", ()))
    least = next((least for since, least in _LEAST_CAPABILITY if numbers(version) >= since), (0, 0))
    if capability and capability < least:
        shown = ".".join(map(str, capability))
        return problem(
            f"TensorRT {version} has no support for compute capability {shown}",
            evidence,
            ["pip install 'tensorrt-cu12<10.5'" if least == (7, 5) and capability >= (7, 0) else "use a newer GPU"],
        )
    if capability >= _BLACKWELL and numbers(version) < _KNOWS_BLACKWELL:
        return problem(
            f"TensorRT {version} is older than this GPU, of compute capability {'.'.join(map(str, capability))}",
            evidence,
            [f"10.8 or later: {_ELSEWHERE}"],
        )
    if "does_not_start" in given.facts:
        return problem(
            f"TensorRT {version} does not start: {given.facts['does_not_start']}",
            [*evidence, *given.said],
            [_ELSEWHERE, "see the findings of driver, nvidia-uvm and gpu"],
        )
    return ok(f"TensorRT {version} starts" + (f", for CUDA {wanted}" if wanted else ""), evidence)


def _cuda_of(facts: dict[str, Any]) -> int | None:
    """Which CUDA a TensorRT was made for, by the library that it loaded or the name of its package."""
    for pattern, names in ((r"libcudart\.so\.(\d+)", facts["libraries"]), (r"-cu(\d+)", facts["packages"])):
        for name in names:
            found = re.search(pattern, name)
            if found:
                return int(found[1])
    return None


TENSORRT_FIT = Check(
    "tensorrt-fit", "TensorRT against the driver and the GPU, by starting it", UNAVAILABLE, _fit, 2 * PROBE_LIMIT_S
)
