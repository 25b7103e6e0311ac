# SPDX-License-Identifier: Apache-2.0
"""Which line of the user's code did it: for errors, and for an operation that loses the batch."""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

_OWN = str(Path(__file__).resolve().parent)
_MARK = 11
"""A batch size that is rarely the length of anything else in a model."""
_SHOWN = 300


def told(error: BaseException) -> str:
    """Kind and message of an error, and the line of the user's code that it comes from."""
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if len(what) > _SHOWN:
        what = f"{what[: _SHOWN - 1]}…"
    if isinstance(error, SyntaxError):
        return what  # says its line itself
    frames = ((frame.filename, frame.lineno or 0) for frame in reversed(traceback.extract_tb(error.__traceback__)))
    found = next((place(*frame) for frame in frames if _is_users(frame[0])), "")
    return f"{what} ({found})" if found else what


def place(file: str, line: int) -> str:
    """``file:line: code``, the file relative to the working folder where it lies in it."""
    shown = os.path.relpath(file) if Path(file).resolve().is_relative_to(Path.cwd()) else file
    code = linecache.getline(file, line).strip()
    return f"{shown}:{line}: {code}" if code else f"{shown}:{line}"


def losing_line(torch: Any, model: Any, values: Any) -> str:
    """The operation after which the batch is not the first dimension any more.

    Args:
        torch: the package.
        model: takes ``values``.
        values: one frame, float tensor [1, 3, H, W].

    Returns:
        Line, operation and shapes; empty where it does not show.
    """
    watch = _watch(torch)
    frames = values.expand(_MARK, *values.shape[1:]).contiguous()
    with torch.no_grad(), watch:
        try:
            model(frames)
        except (RuntimeError, ValueError, IndexError, AssertionError):
            return ""  # the model said itself what it does not take
    return str(watch.found)


def _watch(torch: Any) -> Any:
    """A mode that sees every call of a torch function; made here, since its base class is torch's."""

    class Watch(torch.overrides.TorchFunctionMode):  # type: ignore[misc, unused-ignore]
        found = ""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            result = function(*args, **(kwargs or {}))
            before = [tuple(value.shape) for value in args if isinstance(value, torch.Tensor)]
            carried = [shape for shape in before if shape[:1] == (_MARK,)]
            if isinstance(result, torch.Tensor) and carried:
                after = tuple(result.shape)
                if after[:1] == (_MARK,):
                    self.found = ""  # whatever lost it, it is back
                elif not self.found:
                    name = getattr(function, "__name__", "an operation")
                    shapes = f"{name} turns {list(carried[0])} into {list(after)} at batch {_MARK}"
                    self.found = f"{_caller()} ({shapes})"
            elif isinstance(result, torch.Tensor) and result.shape[:1] == (_MARK,) and self.found:
                self.found = ""
            return result

    return Watch()


def _caller() -> str:
    frame: FrameType | None = sys._getframe()
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return "the model" if frame is None else place(frame.f_code.co_filename, frame.f_lineno)


def _is_users(file: str) -> bool:
    """Whether a source file is neither torch's nor edged's nor Python's own."""
    if file.startswith("<"):
        return False
    parts = Path(file).parts
    return not (file.startswith(_OWN) or "importlib" in parts or _of_package(parts, "torch"))


def _of_package(parts: tuple[str, ...], name: str) -> bool:
    """Whether a path leads into an installed package."""
    return any(pair in (("site-packages", name), ("dist-packages", name)) for pair in pairwise(parts))
