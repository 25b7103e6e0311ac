# SPDX-License-Identifier: Apache-2.0
"""Errors of CUDA calls in the infer process of a real daemon, which knows nothing of it.

The daemon's processes inherit an environment that has Python load `FaultyDriver` instead of the bindings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edged.gpu import load
from tools.gpu.faulty import FaultyDriver
from tools.gpu.injecting import injected

VARIABLE = "GPU_FAULT"


class Fault(NamedTuple):
    """The ``nth`` use of a call in an infer process fails, in as many processes as ``times``, one after the other.

    Attributes:
        name: of the driver's function.
        nth: which use of it, from 1.
        code: the error number.
        times: in how many processes.
        marks: folder that takes a file for each that happened.
    """

    name: str
    nth: int
    code: int
    times: int
    marks: Path

    def may_fire(self) -> bool:
        """Whether one more is to happen; notes it."""
        for number in range(self.times):
            try:
                (self.marks / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    @property
    def fired(self) -> int:
        """How many happened."""
        return len(list(self.marks.iterdir()))


def parse(text: str) -> Fault:
    """A fault out of the environment."""
    name, nth, code, times, marks = text.split(":", 4)
    return Fault(name, int(nth), int(code), int(times), Path(marks))


@contextmanager
def sabotaged(fault: Fault) -> Iterator[None]:
    """What is started meanwhile has the fault."""
    with injected(VARIABLE, ":".join(map(str, fault))):
        yield


def install() -> None:
    """Put the fault that the environment asks for between edged and the bindings."""
    if VARIABLE not in os.environ:
        return
    fault = parse(os.environ[VARIABLE])
    real = load.cuda_driver

    def cuda_driver() -> Any:
        # python -m edged.runtime.child infer …: the process that looks for the engine opens the GPU too.
        if sys.argv[1:2] != ["infer"]:
            return real()
        driver = FaultyDriver(real())
        driver.plan(fault.name, fault.nth, fault.code, fault.may_fire)
        return driver

    load.cuda_driver = cuda_driver
