# SPDX-License-Identifier: Apache-2.0
"""Children as processes and as threads: how they start, how they end, and that none outlives its parent."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edged.runtime.channel import Channel, ChannelClosedError
from edged.runtime.control import Control, StoppedError
from edged.runtime.launch import Handle, ProcessLauncher, ThreadLauncher

START_S = 20.0
_PARENT = """
import sys, time
from edged.runtime.launch import ProcessLauncher
handle, channel = ProcessLauncher().start("prepare", "model")
assert channel.receive(20).kind == "hello"
print(handle.pid, flush=True)
time.sleep(60)
"""


def wait_for_hello(channel: Channel) -> None:
    note = channel.receive(START_S)
    assert note is not None
    assert note.kind == "hello"


def end(handle: Handle, channel: Channel) -> int | None:
    handle.kill()
    channel.close()
    return handle.wait(START_S)


def gone(pid: int, timeout_s: float) -> bool:
    """Whether a process that is no child of ours ends in time."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], timeout_s)[0])
    finally:
        os.close(watched)


def test_a_child_says_hello_stops_when_told_and_shows_nothing_but_its_role() -> None:
    handle, channel = ProcessLauncher().start("prepare", "model")
    try:
        wait_for_hello(channel)
        assert handle.wait(0) is None
        words = Path(f"/proc/{handle.pid}/cmdline").read_bytes().decode().split("\0")
        assert words[1:5] == ["-m", "edged.runtime.child", "prepare", "model"]
        assert len(words) == 8  # the descriptor, the parent and the end
        channel.send("stop")
        assert handle.wait(START_S) == 0
        with pytest.raises(ChannelClosedError):
            channel.receive(1.0)
    finally:
        end(handle, channel)


def test_signals_to_the_whole_group_leave_children_to_the_supervisor() -> None:
    handle, channel = ProcessLauncher().start("prepare", "model")
    try:
        wait_for_hello(channel)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(handle.pid, number)
        assert handle.wait(0.2) is None
        channel.send("stop")
        assert handle.wait(START_S) == 0
    finally:
        end(handle, channel)


def test_a_killed_child_closes_its_channel_and_tells_the_signal() -> None:
    handle, channel = ProcessLauncher().start("prepare", "model")
    handle.kill()
    assert handle.wait(START_S) == -signal.SIGKILL
    with pytest.raises(ChannelClosedError):  # noqa: PT012 - it may have said hello before
        for _ in range(2):
            channel.receive(1.0)
    channel.close()


def test_a_child_ends_with_its_parent_even_if_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child, 0)
    parent.kill()
    parent.wait(START_S)
    parent.stdout.close()
    assert gone(child, 5.0)


def test_processes_are_started_from_the_main_thread_only() -> None:
    errors: list[str] = []

    def start() -> None:
        try:
            ProcessLauncher().start("prepare", "model")
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(START_S)
    assert errors == ["children are started from the main thread only"]


def test_a_thread_serves_until_its_channel_ends() -> None:
    served: list[tuple[str, str]] = []

    def serve(role: str, name: str, sock: socket.socket) -> None:
        served.append((role, name))
        control = Control(Channel(sock))
        control.tell("hello")
        with pytest.raises(StoppedError):
            control.expect("configure")
        sock.close()

    handle, channel = ThreadLauncher(serve).start("capture", "north")
    wait_for_hello(channel)
    assert handle.pid == os.getpid()
    handle.kill()  # a thread cannot be killed
    assert handle.wait(0.02) is None
    channel.close()
    assert handle.wait(START_S) == 0
    assert served == [("capture", "north")]
