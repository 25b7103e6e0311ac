# SPDX-License-Identifier: Apache-2.0
"""The real CUDA bindings with errors on demand: what a broken GPU or driver would answer, on a healthy one.

Only the answers are made up: the GPU stays well, so that many failures can be tried one after the other.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from typing import Any

from edged.gpu.bell import LAUNCH
from edged.gpu.codes import STICKY

ENDINGS = (
    "cuMemFree",
    "cuMemFreeHost",
    "cuMemHostUnregister",
    "cuStreamDestroy",
    "cuEventDestroy",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuDevicePrimaryCtxRelease",
    "cuCtxSynchronize",
)
"""Calls that give something back: they are done whatever they answer, so that nothing is left on the real GPU."""
_NATIVE = b"cuLaunchHostFunc"
_DONE_ANYHOW = (*ENDINGS, "cuStreamSynchronize", "cuStreamEndCapture")


class FaultyDriver:
    """Stands in for the module ``cuda.bindings.driver``.

    Args:
        driver: the real one.

    Attributes:
        counts: calls by name.
        fired: whether the planned error was given.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.counts: Counter[str] = Counter()
        self.fired = False
        self._planned: tuple[str, int, int] | None = None
        self._may_fire: Callable[[], bool] = lambda: True
        self._lost = 0
        self._calls: dict[str, Any] = {}
        self._kept: list[Any] = []

    def plan(self, name: str, nth: int, code: int, may_fire: Callable[[], bool] | None = None) -> None:
        """Have the ``nth`` use of a call from now on (from 1) answer with an error number.

        After a sticky one every later call answers the same, as on a GPU that is lost.

        Args:
            name: of the driver's function.
            nth: which use of it.
            code: the error number.
            may_fire: asked when it is about to happen; False lets the call through, for good.
        """
        self._planned = (name, self.counts[name] + nth, code)
        self.fired = False
        self._may_fire = may_fire or self._may_fire

    def heal(self) -> None:
        """No more errors."""
        self._planned, self._lost = None, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        # Functions alone: cuInit, not CUdevice_attribute.
        if not (name.startswith("cu") and callable(found)):
            return found
        call = self._calls[name] = self._calls.get(name) or self._wrapped(name, found)
        return call

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.counts[name] += 1
            code = self._code(name)
            if not code:
                return function(*arguments)
            if name in _DONE_ANYHOW:
                self._discard(name, function(*arguments))
            return (code, None)

        def look_up(symbol: bytes, *arguments: Any) -> Any:
            answer = call(symbol, *arguments)
            if answer[0] or symbol != _NATIVE:
                return answer
            return (answer[0], self._native(int(answer[1])), *answer[2:])

        return look_up if name == "cuGetProcAddress" else call

    def _native(self, address: int) -> int:
        """The same for the one function that edged calls by its address."""
        name, real = _NATIVE.decode(), LAUNCH(address)

        def launch(stream: int | None, function: int | None, data: int | None) -> int:
            self.counts[name] += 1
            return self._code(name) or real(stream, function, data)

        found = LAUNCH(launch)
        self._kept.append(found)
        return ctypes.cast(found, ctypes.c_void_p).value or 0

    def _code(self, name: str) -> int:
        if self._planned is not None and self._planned[:2] == (name, self.counts[name]):
            code, self._planned = self._planned[2], None
            if self._may_fire():
                self.fired = True
                self._lost = code if code in STICKY else 0
                return code
        return self._lost

    def _discard(self, name: str, answer: Any) -> None:
        """A recording that nobody will hear of."""
        if name == "cuStreamEndCapture" and not int(answer[0]) and int(answer[1]):
            self._driver.cuGraphDestroy(answer[1])
