# SPDX-License-Identifier: Apache-2.0
"""Asking something in a process that ends at once: a look at the GPU opens it, and loads TensorRT."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from edged.runtime.signals import STOP_SIGNALS

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function of a module returns or raises, called in a process of its own; call from the main thread."""
    # The child inherits the mask: Ctrl-C reaches the whole group, and is for the bench alone to answer.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *args, **kwargs).result()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
