# SPDX-License-Identifier: Apache-2.0
"""The verify process: what is published, held against the FP32 reference with what nobody else wants of the CPU."""

from __future__ import annotations

import os
import threading

from edged.runtime.control import Control

_NICEST = 19


def serve(name: str, control: Control) -> None:
    """Look at samples until told to stop."""
    step_back()
    # Only now: loading libraries is most of what this process does at its start, and disturbs nobody either.
    from edged.runtime.verify_work import work

    work(name, control)


def step_back() -> None:
    """Run only when nobody else wants the CPU; where the kernel refuses that, as the least of all."""
    if threading.current_thread() is not threading.main_thread():
        # A thread among the others (``isolation = "thread"``): the interpreter's lock is not to be held by one that the
        # kernel does not let run.
        return
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
