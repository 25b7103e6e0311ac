# SPDX-License-Identifier: Apache-2.0
"""Wake-ups."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from edged.shm.wake import Wake


@pytest.fixture
def wake() -> Iterator[Wake]:
    made = Wake()
    yield made
    made.close()


def test_setting_often_wakes_once(wake: Wake) -> None:
    assert not wake.clear()
    for _ in range(3):
        wake.set()
    assert wake.clear()
    assert not wake.clear()
    assert not wake.wait(0)


def test_waiting_ends_when_it_is_set_or_the_time_is_up(wake: Wake) -> None:
    start = time.monotonic()
    assert not wake.wait(0.05)
    assert 0.04 <= time.monotonic() - start < 5.0
    threading.Timer(0.02, wake.set).start()
    assert wake.wait(10.0)
    assert not wake.wait(0.0)
    assert not wake.wait(-1.0)


def test_a_full_counter_is_set_and_setting_it_does_not_block(wake: Wake) -> None:
    os.eventfd_write(wake.fd, 2**64 - 2)
    wake.set()
    assert wake.clear()


def test_another_process_can_set_it(wake: Wake) -> None:
    script = "import sys; from edged.shm.wake import Wake; Wake(int(sys.argv[1])).set()"
    child = subprocess.Popen([sys.executable, "-c", script, str(wake.fd)], pass_fds=[wake.fd])
    assert wake.wait(20.0)
    assert child.wait(20) == 0


def test_closing_twice_is_harmless() -> None:
    wake = Wake()
    fd = wake.fileno()
    wake.close()
    wake.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
