# SPDX-License-Identifier: Apache-2.0
"""The bell that the driver rings."""

from __future__ import annotations

import ctypes
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.open_files import open_files

from edged.errors import InternalError
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


def test_a_wait_ends_at_its_deadline() -> None:
    bell = Bell(Driver().launch)
    start = time.monotonic()
    assert not bell.wait(0.05)
    assert 0.04 < time.monotonic() - start < 10
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
    assert not open_files() - before


def test_a_ring_after_the_end_of_the_bell_is_harmless() -> None:
    before = open_files()
    driver, wake = Driver(), Wake()
    bell = Bell(driver.launch, wake.fd)
    bell.enqueue(7)
    bell.enqueue(7)
    bell.close()
    for _ in range(2):
        driver.ring()
        assert wake.clear()
    wake.close()
    # What the driver was still to use is left to the process: on a GPU that is lost, and only there.
    assert len(open_files() - before) <= 1
    with pytest.raises(InternalError, match="after its end"):
        bell.enqueue(7)


def test_a_bell_that_has_rung_rings_again_with_what_it_has() -> None:
    """No system call a batch but the one that sets the eventfd, and that is the driver's."""
    driver, wake = Driver(), Wake()
    bell = Bell(driver.launch, wake.fd)
    used = set()
    for _ in range(100):
        assert bell.enqueue(7) == 0
        assert not wake.clear()
        used |= set(driver.calls)
        driver.ring()
        assert wake.clear()
    assert len(used) == 1
    bell.enqueue(7)
    bell.enqueue(7)
    assert len(set(driver.calls)) == 2, "two rings shared what one of them writes"
    driver.ring(1)
    driver.ring(0)
    bell.close()
    wake.close()


def test_a_launch_that_is_refused_is_followed_by_one_that_is_not() -> None:
    driver, wake = Driver(), Wake()
    bell = Bell(driver.launch, wake.fd)
    driver.refuses = 2
    assert bell.enqueue(7) == 2
    wake.clear()
    driver.refuses = 0
    assert bell.enqueue(7) == 0
    assert not wake.clear()
    driver.ring()
    assert wake.clear()
    bell.close()
    wake.close()


def test_a_launch_that_is_refused_leaves_nothing() -> None:
    before = open_files()
    driver, wake = Driver(), Wake()
    driver.refuses = 2
    bell = Bell(driver.launch, wake.fd)
    assert bell.enqueue(7) == 2
    bell.close()
    wake.close()
    assert not open_files() - before
