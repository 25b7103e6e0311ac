# SPDX-License-Identifier: Apache-2.0
"""The semaphore that the driver posts."""

import ctypes
import threading
import time

from edged.gpu.semaphore import Semaphore


def post(semaphore: Semaphore) -> None:
    """Call the posted function as the driver does: by its address, with one argument."""
    assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(semaphore.post)(semaphore.address) == 0


def test_a_wait_ends_at_its_deadline() -> None:
    start = time.monotonic()
    assert not Semaphore().wait(0.05)
    assert 0.04 < time.monotonic() - start < 2


def test_a_post_wakes_the_waiter() -> None:
    semaphore = Semaphore()
    waiting = threading.Event()

    def wait_and_post() -> None:
        waiting.wait(5)
        post(semaphore)

    thread = threading.Thread(target=wait_and_post)
    thread.start()
    start = time.monotonic()
    waiting.set()
    assert semaphore.wait(10)
    assert time.monotonic() - start < 5
    thread.join(5)


def test_posts_are_counted_and_can_be_drained() -> None:
    semaphore = Semaphore()
    for _ in range(3):
        post(semaphore)
    assert semaphore.wait(0)
    semaphore.drain()
    assert not semaphore.wait(0)
