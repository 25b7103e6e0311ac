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

from edged.engine.protocol import BuildRequest, Done, Event, Failed, Tell, from_line
from edged.engine.shelf import tidy
from edged.errors import InternalError

_CHUNK = 1 << 16
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class BuildStoppedError(Exception):
    """The build was ended as asked; the store is as it was."""


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
    child = _start()
    try:
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
        last = _follow(child, tell, stop, tick_s, on_tick)
    except BrokenPipeError:
        last = None
    finally:
        child.kill()
        status = child.wait()
        assert child.stdout is not None
        child.stdout.close()
        tidy(Path(request.state_dir))
    if isinstance(last, Failed):
        raise last.error()
    if not isinstance(last, Done):
        raise InternalError(
            f"the building process {_ending(status)}",
            where="building",
            remedy="what it wrote last may say why; a lower --workspace-mb or --optimization-level may help",
        )
    return last


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edged.engine.build_main", str(os.getpid())]
    # The child inherits the mask: nothing can interrupt it before it has come to ignore these signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(
    child: subprocess.Popen[bytes], tell: Tell, stop: Stop | None, tick_s: float, on_tick: Callable[[], None] | None
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
        if on_tick is not None:
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
