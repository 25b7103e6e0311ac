# SPDX-License-Identifier: Apache-2.0
"""TensorRT says why it refuses something only to its logger: what it said last is kept for the error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

_KEPT = 400
_SHOWN = 3
_GRAVE = ("INTERNAL_ERROR", "ERROR")
_NO_MEMORY = ("out of memory", "outofmemory", "could not be allocated")


class Message(NamedTuple):
    """A line of TensorRT's log: ``INTERNAL_ERROR``, ``ERROR``, ``WARNING`` or ``INFO``, and the text."""

    severity: str
    text: str


class Messages:
    """The last lines of TensorRT's log; may be filled from any thread.

    Args:
        on_message: is given every line that is kept.
    """

    def __init__(self, on_message: Callable[[Message], None] | None = None) -> None:
        self._lines: deque[Message] = deque(maxlen=_KEPT)
        self._on_message = on_message

    def add(self, severity: str, text: str) -> None:
        """Keep a line, unless it is one of the many that only TensorRT's makers read."""
        if severity == "VERBOSE":
            return
        message = Message(severity, text)
        self._lines.append(message)
        if self._on_message is not None:
            self._on_message(message)

    def clear(self) -> None:
        """Forget all lines, before something whose own lines are wanted."""
        self._lines.clear()

    def lines(self) -> tuple[Message, ...]:
        """All lines kept, oldest first."""
        return tuple(self._lines)

    def reason(self) -> str:
        """The last errors, or where there are none the last warnings, as one line."""
        lines = self.lines()
        for severities in (_GRAVE, ("WARNING",)):
            found = [line.text for line in lines if line.severity in severities]
            if found:
                return " | ".join(found[-_SHOWN:])
        return "it does not say why"

    @property
    def memory_ran_out(self) -> bool:
        """Whether one of the errors is a lack of GPU memory."""
        text = " ".join(line.text for line in self.lines() if line.severity in _GRAVE).lower()
        return any(sign in text for sign in _NO_MEMORY)


def make_logger(trt: Any, messages: Messages) -> Any:
    """TensorRT's logger, writing to ``messages``. One a process: TensorRT keeps to the first that it gets."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            messages.add(severity.name, text)

    return Logger()
