# SPDX-License-Identifier: Apache-2.0
"""Running a build in a child process, from the outside: ``edged-build-engine`` and ``engine.build = "on-start"``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from edged.engine import memory
from edged.engine.protocol import BuildRequest, Done, Event, Failed, Note, Tell, from_line
from edged.engine.shelf import tidy
from edged.engine.summary import size
from edged.errors import DeviceUnavailableError, EdgedError, InternalError

_CHUNK = 1 << 16
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class BuildStoppedError(Exception):
    """The build was ended as asked; the store is as it was."""


class _ExhaustedError(Exception):
    """Memory ran out.

    Args:
        what: a clause.
        error: what to say if there is nothing left to do without.
    """

    def __init__(self, what: str, error: EdgedError) -> None:
        super().__init__(what)
        self.what = what
        self.error = error


class Stop(Protocol):
    """Becomes readable when a stop is asked for."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


def run_build(
    request: BuildRequest,
    tell: Tell,
    stop: Stop | None = None,
    *,
    tick_s: float = 0.2,
    on_tick: Callable[[], None] | None = None,
) -> Done:
    """Build in a child process; call from the main thread, since the kernel kills the child when this thread ends.

    Where memory runs out the build is tried again, with less of what takes it: what was measured is not measured twice.

    Args:
        request: what to build.
        tell: takes the events of the build; of its end only a `Failed` that has a traceback.
        stop: ends the build when it becomes readable.
        tick_s: longest wait between two chances for signal handlers, seconds.
        on_tick: called at least that often while the build is under way.

    Raises:
        BuildStoppedError: it was stopped.
        KeyboardInterrupt: likewise, by Ctrl-C where that is not handled otherwise.
        EdgedError: what kept the engine from being built.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("builds are started from the main thread only")
    while True:
        try:
            return _run_once(request, tell, stop, tick_s, on_tick)
        except _ExhaustedError as exhausted:
            if request.thrift == memory.MOST_THRIFT:
                raise exhausted.error from exhausted
            request = msgspec.structs.replace(request, thrift=request.thrift + 1)
            tell(Note(f"{exhausted.what}; once more with less: {memory.sacrifices(request)}"))


def _run_once(
    request: BuildRequest, tell: Tell, stop: Stop | None, tick_s: float, on_tick: Callable[[], None] | None
) -> Done:
    limit, killed_before = memory.limit_bytes(request), memory.kills_for_memory()
    child = _start()
    too_large = False

    def tick() -> None:
        nonlocal too_large
        if limit is not None and memory.resident_bytes(child.pid) > limit:
            too_large = True
            child.kill()
        if on_tick is not None:
            on_tick()

    try:
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
        last = _follow(child, tell, stop, tick_s, tick)
    except BrokenPipeError:
        last = None
    finally:
        child.kill()
        status = child.wait()
        assert child.stdout is not None
        child.stdout.close()
        tidy(Path(request.state_dir))
    if isinstance(last, Done):
        return last
    if isinstance(last, Failed):
        if last.memory:
            raise _ExhaustedError(f"memory ran out ({last.what})", last.error())
        raise last.error()
    if too_large and limit is not None:
        what = f"the build took more than {size(limit)}"
        raise _ExhaustedError(what, DeviceUnavailableError(what, where="building", remedy="allow more: --memory-mb"))
    raise _unexplained(status, killed_before)


def _unexplained(status: int, killed_before: int | None) -> Exception:
    """The error for a child that ended without one."""
    error = InternalError(
        f"the building process {_ending(status)}",
        where="building",
        remedy="what it wrote last may say why; a lower --workspace-mb or --optimization-level may help",
    )
    if status == -signal.SIGKILL and killed_before != memory.kills_for_memory():
        return _ExhaustedError("the kernel ended the build for want of memory", error)
    return error


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edged.engine.build_main", str(os.getpid())]
    # The child inherits the mask: nothing can interrupt it before it has come to ignore these signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(
    child: subprocess.Popen[bytes], tell: Tell, stop: Stop | None, tick_s: float, on_tick: Callable[[], None]
) -> Event | None:
    """Pass events on until the child is done; returns the last one."""
    assert child.stdout is not None
    fd = child.stdout.fileno()
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if stop is not None:
        poller.register(stop.fileno(), select.POLLIN)
    pending, last = b"", None
    while True:
        ready = {ready_fd for ready_fd, _ in poller.poll(tick_s * 1000)}
        if stop is not None and stop.fileno() in ready:
            raise BuildStoppedError
        on_tick()
        if fd not in ready:
            continue
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            return last
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            last = from_line(line)
            if not isinstance(last, Done | Failed) or (isinstance(last, Failed) and last.traceback):
                tell(last)


def _ending(status: int) -> str:
    if status == 0:
        return "ended without a word"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
