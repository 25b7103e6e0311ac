# SPDX-License-Identifier: Apache-2.0
"""The bell that the driver rings."""

from __future__ import annotations

import ctypes
import os
import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.gpu.bell import Bell
from edged.shm.wake import Wake

_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Driver:
    """Keeps what is to be called, as a stream does; calls it as the driver does: by its address, without Python."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.refuses = 0

    def launch(self, stream: int, function: int, argument: int) -> int:
        assert stream == 7
        if self.refuses:
            return self.refuses
        self.calls.append((function, argument))
        return 0

    def ring(self, place: int = 0) -> None:
        function, argument = self.calls.pop(place)
        _HOST_FUNCTION(function)(argument)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_wait_ends_at_its_deadline() -> None:
    bell = Bell(Driver().launch)
    start = time.monotonic()
    assert not bell.wait(0.05)
    assert 0.04 < time.monotonic() - start < 2
    bell.close()


def test_a_ring_from_another_thread_wakes_the_waiter() -> None:
    driver = Driver()
    bell = Bell(driver.launch)
    assert bell.enqueue(7) == 0
    assert not bell.wait(0)
    thread = threading.Timer(0.02, driver.ring)
    start = time.monotonic()
    thread.start()
    assert bell.wait(10)
    assert time.monotonic() - start < 5
    thread.join(5)
    assert not bell.wait(0)
    bell.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=40))
def test_every_ring_sets_the_wake_up_however_late_it_comes(steps: list[int | None]) -> None:
    """Any number may be under way, and come in any order: none is swallowed by another, and nothing is left."""
    before = open_files()
    driver, wake = Driver(), Wake()
    bell = Bell(driver.launch, wake.fd)
    for step in steps:
        if step is None or not driver.calls:
            assert bell.enqueue(7) == 0
        else:
            driver.ring(step % len(driver.calls))
            assert wake.clear()
        assert not wake.clear()
    while driver.calls:
        driver.ring()
        assert wake.wait(0)
    bell.close()
    bell.set()  # the wake-up is its owner's, and still open
    assert wake.clear()
    wake.close()
    assert open_files() == before


def test_a_ring_after_the_end_of_the_bell_is_harmless() -> None:
    before = open_files()
    driver = Driver()
    bell = Bell(driver.launch)
    bell.enqueue(7)
    bell.close()
    driver.ring()
    assert open_files() == before


def test_a_launch_that_is_refused_leaves_nothing() -> None:
    before = open_files()
    driver, wake = Driver(), Wake()
    driver.refuses = 2
    assert Bell(driver.launch, wake.fd).enqueue(7) == 2
    wake.close()
    assert open_files() == before
