# SPDX-License-Identifier: Apache-2.0
"""``engine.build = "serve-while-building"``: has an engine built, with what the daemon leaves of the machine."""

from __future__ import annotations

import ctypes
import os
import platform
import threading

import msgspec

from edged.engine.process import BuildStoppedError, run_build
from edged.engine.protocol import BuildRequest, Event, Failed, Note, Phase, Step
from edged.errors import InternalError
from edged.runtime.control import Control, StoppedError
from edged.runtime.plans import BuildPlan

_NICEST = 19
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13


def serve(_name: str, control: Control) -> None:
    """Build one engine and say how it goes."""
    step_back()
    control.tell("hello")
    plan = msgspec.convert(control.expect("configure").body, BuildPlan)
    request = msgspec.convert(plan.request, BuildRequest)

    def tell(event: Event) -> None:
        if isinstance(event, Phase | Step | Note | Failed):
            control.tell("build", msgspec.to_builtins(event))

    if threading.current_thread() is not threading.main_thread():
        raise InternalError("building needs a process of its own", remedy='use isolation = "process"')
    try:
        # Whatever the supervisor says from now on means that it is to end.
        done = run_build(request, tell, control)
    except BuildStoppedError as error:
        raise StoppedError from error
    control.tell("built", {"key": done.key, "folder": done.folder, "built": done.built})


def step_back() -> None:
    """Take the processor and the disk only when nobody else wants them; children do as well."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        # Where that is refused the kernel goes by the niceness.
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
