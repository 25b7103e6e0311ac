# SPDX-License-Identifier: Apache-2.0
"""CUDA's Python bindings, their version against the driver's, and the GPU itself."""

from __future__ import annotations

from edged.doctor.apart import Answer
from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import UNAVAILABLE, Outcome, SkippedError, ok, problem, warning
from edged.doctor.situation import Situation
from edged.doctor.versions import numbers

_FIRST_WITHOUT_LOCK = (12, 9, 1)
_OLDEST_CUDA = 12
_LITTLE_MIB = 512
_MIB = 1 << 20
INSTALL = {
    12: "pip install 'cuda-python>=12.9.10,<13'",
    13: "pip install 'cuda-python>=13.4.1,<14'",
}


def answer(situation: Situation) -> Answer:
    """What CUDA says in a child process.

    Raises:
        SkippedError: there is no GPU to ask for.
    """
    situation.need_gpu()
    return situation.ask("cuda", device=situation.device)


def driver_cuda(given: Answer) -> tuple[int, int] | None:
    """Major and minor version of CUDA that the driver brings; None where it did not tell."""
    number = given.facts.get("cuda")
    return None if number is None else (number // 1000, number % 1000 // 10)


def _bindings(situation: Situation) -> Outcome:
    given = answer(situation)
    version = given.facts.get("bindings")
    either = f"{INSTALL[12]}  # CUDA 13: {INSTALL[13]}"
    if version is None:
        return given.outcome([either])
    evidence = [f"cuda-bindings {version} in {given.facts['at']}"]
    if numbers(version) < _FIRST_WITHOUT_LOCK:
        return problem(
            f"{version} holds Python's lock during every CUDA call, and the whole process with it",
            [*evidence, "the first that does not is 12.9.1"],
            [either],
        )
    return ok(f"{version}", evidence)


CUDA_BINDINGS = Check("cuda-bindings", "CUDA's Python bindings, 12.9.1 or later", UNAVAILABLE, _bindings, PROBE_LIMIT_S)


def _version(situation: Situation) -> Outcome:
    given = answer(situation)
    driver = driver_cuda(given)
    if driver is None or "bindings" not in given.facts:
        raise SkippedError("neither is known, see cuda-bindings and gpu")
    bindings = numbers(given.facts["bindings"])
    shown = f"{driver[0]}.{driver[1]}"
    evidence = [f"the driver brings CUDA {shown}", f"cuda-bindings is {given.facts['bindings']}"]
    if driver[0] < _OLDEST_CUDA:
        return problem(f"the driver's CUDA {shown} is too old", evidence, ["install driver 525 or later, and reboot"])
    if bindings[0] > driver[0]:
        return problem(
            f"bindings for CUDA {bindings[0]} on a driver with CUDA {shown}",
            evidence,
            [INSTALL[12], f"or install a driver with CUDA {bindings[0]}"],
        )
    return ok(f"CUDA {shown} in the driver, bindings for {bindings[0]}", evidence)


CUDA_VERSION = Check(
    "cuda-version", "CUDA's version in the driver against the bindings'", UNAVAILABLE, _version, PROBE_LIMIT_S
)


def _gpu(situation: Situation) -> Outcome:
    given = answer(situation)
    if "bindings" not in given.facts:
        raise SkippedError("the bindings cannot be imported, see cuda-bindings")
    if not given.done:
        if "cuda" not in given.facts:
            return given.outcome(["edged doctor --only driver,driver-library  # and mend what they find"])
        visible = situation.machine.environ.get("CUDA_VISIBLE_DEVICES")
        remedy = ["nvidia-smi -L  # and set engine.device to a GPU that is there", "sudo dmesg | grep -i -E 'xid|nvrm'"]
        if visible is not None:
            remedy.insert(0, f"unset CUDA_VISIBLE_DEVICES  # it is {visible!r}")
        return given.outcome([*given.remedy, *remedy])
    free, total = (size // _MIB for size in given.facts["memory"])
    major, minor = given.facts["compute_capability"]
    text = f"{given.facts['gpu']}, compute capability {major}.{minor}"
    evidence = [f"GPU {situation.device}: {free} of {total} MiB free"]
    if free < _LITTLE_MIB and not given.facts["integrated"]:
        return warning(
            f"{text}: only {free} MiB are free",
            evidence,
            ["nvidia-smi  # and end what else uses this GPU", "[engine] max_batch = 1  # in the settings"],
        )
    return ok(text, evidence)


GPU = Check("gpu", "the GPU of engine.device, by opening it", UNAVAILABLE, _gpu, PROBE_LIMIT_S)
