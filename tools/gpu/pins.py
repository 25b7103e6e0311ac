# SPDX-License-Identifier: Apache-2.0
"""Which memory of the host an infer process has page-locked, told by the calls themselves and not by edged's own books.

The daemon's processes inherit an environment that has Python count the two calls of the driver that matter; everything
else goes through untouched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edged.gpu import load
from tools.gpu.injecting import injected

VARIABLE = "GPU_PINS"
"""Environment: the folder that takes a file for each infer process, named by its process id."""
_WATCHED = {"cuMemHostRegister": "+", "cuMemHostUnregister": "-"}


def note(sign: str, *numbers: int) -> None:
    """Write a line about a call that succeeded, ``+ ADDRESS BYTES`` or ``- ADDRESS``, where the environment asks."""
    if VARIABLE in os.environ:
        with Path(os.environ[VARIABLE], str(os.getpid())).open("a", encoding="ascii") as file:
            print(sign, *numbers, file=file)


class CountedDriver:
    """Stands in for the module ``cuda.bindings.driver``.

    Args:
        driver: the real one.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        return self._noted(_WATCHED[name], found) if name in _WATCHED else found

    def _noted(self, sign: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            if not answer[0]:
                note(sign, *(int(each) for each in arguments[:2]))
            return answer

        return call


def locked(log: Path) -> dict[int, int]:
    """What is page-locked according to a process's file: bytes by address; nothing where it wrote none.

    Raises:
        ValueError: it gave back what it did not have.
    """
    found: dict[int, int] = {}
    for line in log.read_text(encoding="ascii").splitlines() if log.is_file() else ():
        sign, address, *size = line.split()
        if sign == "+":
            found[int(address)] = int(size[0])
        elif found.pop(int(address), None) is None:
            raise ValueError(f"{log.name} unlocked {address}, which was not locked")
    return found


@contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Infer processes of what is started meanwhile, and their successors, write into a folder."""
    with injected(VARIABLE, str(folder)):
        yield


def install() -> None:
    """Put the counter between edged and the bindings where the environment asks for it."""
    if VARIABLE not in os.environ:
        return
    real = load.cuda_driver

    def cuda_driver() -> Any:
        # python -m edged.runtime.child infer …: the process that looks for the engine locks nothing that stays.
        driver = real()
        return CountedDriver(driver) if sys.argv[1:2] == ["infer"] else driver

    load.cuda_driver = cuda_driver
