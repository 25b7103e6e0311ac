# SPDX-License-Identifier: Apache-2.0
"""Starting and ending children: as processes, or as threads of this one for tests and debugging."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from edged.runtime.channel import Channel
from edged.runtime.signals import GROUP_SIGNALS


class Handle(Protocol):
    """A running child."""

    pid: int

    def wait(self, timeout_s: float) -> int | None:
        """Exit status once it is gone (negative: the signal that killed it); None when it still runs."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Launcher(Protocol):
    """Starts children."""

    def start(self, role: str, name: str) -> tuple[Handle, Channel]:
        """Start a child.

        Args:
            role: ``prepare``, ``capture``, ``infer``, ``publish`` or ``verify``.
            name: shows in process lists.
        """
        ...


class ProcessHandle:
    """A child that is a process.

    Args:
        process: as it was started.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def wait(self, timeout_s: float) -> int | None:
        """Exit status once it is gone; None when it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


class ProcessLauncher:
    """Starts each child as a process of its own; call from the main thread only.

    The kernel kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), hence the main thread.
    """

    def start(self, role: str, name: str) -> tuple[Handle, Channel]:
        """Start a child process."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread only")
        mine, theirs = Channel.pair()
        with theirs:
            command = [sys.executable, "-m", "edged.runtime.child", role, name, str(theirs.fileno()), str(os.getpid())]
            # The child inherits the mask: nothing interrupts it before it has come to ignore what reaches the group.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
            try:
                process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return ProcessHandle(process), mine


class _Thread:
    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self.pid = os.getpid()

    def wait(self, timeout_s: float) -> int | None:
        self._thread.join(timeout_s)
        return None if self._thread.is_alive() else 0

    def kill(self) -> None:
        """A thread cannot be killed; it ends when its channel does."""


class ThreadLauncher:
    """Runs each child as a daemon thread of this process (``isolation = "thread"``)."""

    def __init__(self, serve: Callable[[str, str, socket.socket], None]) -> None:
        self._serve = serve

    def start(self, role: str, name: str) -> tuple[Handle, Channel]:
        """Start a child thread."""
        mine, theirs = Channel.pair()
        thread = threading.Thread(target=self._serve, args=(role, name, theirs), name=f"{role}:{name}", daemon=True)
        thread.start()
        return _Thread(thread), mine
