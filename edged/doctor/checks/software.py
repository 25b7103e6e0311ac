# SPDX-License-Identifier: Apache-2.0
"""Python, its environment, the user, and ONNX Runtime."""

from __future__ import annotations

import platform
import re
import sys

from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import CONFIGURATION, UNAVAILABLE, Outcome, ok, problem, warning
from edged.doctor.situation import Situation

_AGAIN = "/usr/bin/python3 -m venv --system-site-packages DIR  # and install edged there"


def _python(situation: Situation) -> Outcome:
    machine = situation.machine
    config = machine.text(machine.prefix / "pyvenv.cfg")
    shared = config is None or re.search(r"include-system-site-packages\s*=\s*true", config) is not None
    kind = (
        "the system's" if config is None else "a virtual environment" + (" on the system's packages" if shared else "")
    )
    evidence = [f"{sys.executable} is Python {platform.python_version()}", f"environment {machine.prefix}: {kind}"]
    if machine.hardware() == "jetson":
        if not shared:
            return problem(
                "the virtual environment hides the system's packages, and with them TensorRT and OpenCV with GStreamer",
                [*evidence, f"{machine.prefix}/pyvenv.cfg: include-system-site-packages = false"],
                [_AGAIN],
            )
        system = re.search(r"python3\.(\d+)$", str(machine.at("/usr/bin/python3").resolve()))
        if system is not None and int(system[1]) != sys.version_info.minor:
            return problem(
                f"the system's TensorRT is for Python 3.{system[1]}, not for {platform.python_version()}",
                [*evidence, f"/usr/bin/python3 is Python 3.{system[1]}"],
                [_AGAIN],
            )
    return ok(f"{platform.python_version()}, {kind}", evidence)


PYTHON = Check("python", "Python and its virtual environment", UNAVAILABLE, _python)


def _user(situation: Situation) -> Outcome:
    machine = situation.machine
    passwd = machine.text("/etc/passwd") or ""
    evidence = [f"user id {machine.uid}"]
    if machine.uid == 0 and re.search(r"^edged:", passwd, re.MULTILINE):
        return warning(
            "root may do everything: what the daemon's own user may not do does not show",
            [*evidence, "/etc/passwd has a user edged"],
            ["sudo -u edged edged doctor"],
        )
    return ok("root" if machine.uid == 0 else f"user id {machine.uid}", evidence)


USER = Check("user", "whether this user is the one that runs the daemon", CONFIGURATION, _user)


def _onnxruntime(situation: Situation) -> Outcome:
    given = situation.ask("onnxruntime")
    remedy = ["pip install --force-reinstall 'onnxruntime>=1.17'"]
    if not given.done:
        return given.outcome(remedy)
    evidence = [f"imported from {given.facts['at']}", f"outputs of a small model: {given.facts['outputs']}"]
    if not given.facts["finite"]:
        return problem("a small model gives numbers that are none", evidence, remedy)
    return ok(f"{given.facts['version']} runs a small model", evidence)


ONNXRUNTIME = Check("onnxruntime", "ONNX Runtime, by running a small model", UNAVAILABLE, _onnxruntime, PROBE_LIMIT_S)
