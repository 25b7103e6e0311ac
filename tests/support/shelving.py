# SPDX-License-Identifier: Apache-2.0
"""Builders to be killed, as processes forked from one that has everything loaded.

``python -m support.shelving sweep STATE SIZE``: one builder after the other, each killed before a later change of the
file system than the one before, each with a state folder of its own (STATE/1, STATE/2, …), until one gets through.
Prints how many were killed.

``python -m support.shelving random STATE SIZE SEED``: for each line on stdin, one builder, killed at random once it has
stored an engine. Prints a line for each.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edged.engine.outdated import remove_outdated
from edged.engine.shelf import Content, hold
from support.engines import manifest

_CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "tempfile.mkstemp", "tempfile.mkdtemp")
_DRIVERS = (0, 0, 1)
"""The first of a key, one that takes its place, and one of another key, for which the first one is removed."""


def store(state: Path, size: int, driver: int) -> None:
    """Store an engine of another content under the key that belongs to a driver, and remove all others."""
    content = os.urandom(size)
    made = manifest(content, driver=str(driver))
    with hold(state, "tiny") as shelf:
        shelf.put(made, Content(content))
        shelf.make_current(made, chosen=True)
        remove_outdated(shelf.folder, 0)


def sweep(state: Path, size: int) -> int:
    """Kill at every change of the file system; returns how many there were."""
    for after in itertools.count(1):
        child = os.fork()
        if child == 0:
            _die_at(after)
            for driver in _DRIVERS:
                store(state / str(after), size, driver)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            assert status == 0
            return after - 1
    raise AssertionError


def at_random(state: Path, size: int, seed: int) -> None:
    """Kill at random, once for each line on stdin."""
    chance = random.Random(seed)
    for _ in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for count in itertools.count():
                store(state, size, count % 2)
                os.write(writer, b"!")
        os.read(reader, 1)
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("killed", flush=True)


def _die_at(number: int) -> None:
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    place, amount = Path(sys.argv[2]), int(sys.argv[3])
    if sys.argv[1] == "sweep":
        print(sweep(place, amount))
    else:
        at_random(place, amount, int(sys.argv[4]))
