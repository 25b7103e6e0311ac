# SPDX-License-Identifier: Apache-2.0
"""What both commands do around their work: standard streams that take what is written, and every end in one line.

Next to nothing is imported before the work begins: a signal that arrives before its handler stands kills the process.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended before it was done, as shells have it: what follows ``&&`` must not run."""
_ESCAPE = "edged.escape"


class ReaderGoneError(BrokenPipeError):
    """Whoever read our output has gone, as in ``edged tail | head``."""


class _Output(io.FileIO):
    """Standard output, whose errors tell themselves from all others."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            raise ReaderGoneError(*error.args) from error
        except OSError as error:
            from edged.errors import OutputError

            raise OutputError(
                f"cannot be written: {error.strerror}", where="standard output", remedy="send it somewhere else"
            ) from error


def run_command(program: str, work: Callable[[], int], *, traceback: bool, interrupted: Callable[[], int]) -> int:
    """Do a command's work.

    Args:
        program: its name, for errors.
        work: returns the exit code.
        traceback: let errors through.
        interrupted: what to do on Ctrl-C; returns the exit code.

    Returns:
        The exit code: that of the work, or that of its error, which is one line on stderr.
    """
    try:
        open_streams()
        code = work()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return interrupted()
    except ReaderGoneError:
        _discard(1)
        return 0
    except SystemExit as end:
        # How rich ends a program whose reader has gone.
        if isinstance(end.__context__, ReaderGoneError):
            return 0
        raise
    except Exception as error:  # the top of the process: users get one line, no traceback
        if traceback:
            raise
        return _report(program, error)


def open_streams() -> None:
    """Make the three standard streams usable, whatever the process was started with.

    A closed one is /dev/null from now on: its number would otherwise go to the next file or socket, and what was meant
    for a person would be written there. A character that the terminal's encoding does not have is written as
    ``\\u00fc``, which JSON reads too.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    codecs.register_error(_ESCAPE, _escaped)
    out: object = sys.stdout
    if out is None or out is sys.__stdout__:
        sys.stdout = _output(out)
    elif isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors=_ESCAPE)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _output(before: object) -> io.TextIOWrapper:
    old = before if isinstance(before, io.TextIOWrapper) else None
    raw = _Output(1, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old else "utf-8",
        errors=_ESCAPE,
        line_buffering=old.line_buffering if old else False,
        write_through=old.write_through if old else False,
    )


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)), error.end


def _report(program: str, error: Exception) -> int:
    from edged.errors import InternalError, OutputError, told
    from edged.stages.capture.redact import redact

    shown = told(error)
    if shown is None:
        what = f"internal error: {type(error).__name__}: {redact(str(error))}"
        shown = InternalError(what, remedy="please report it with what --traceback adds")
    if isinstance(shown, OutputError):
        _discard(1)
    try:
        sys.stderr.write(f"{program}: {shown}\n")
        sys.stderr.flush()
    except OSError:
        _discard(2)  # nobody is left to be told
    return shown.exit_code


def _discard(number: int) -> None:
    """Point a stream to nowhere: what is still buffered must not fail at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, number)
    os.close(nowhere)
