# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edged.errors import EndpointInUseError
from edged.stages.publish.endpoint import Endpoint, hold, parse_endpoint
from edged.stages.publish.publisher import Publisher

HOLDER = """
import sys
from edged.stages.publish.endpoint import hold, parse_endpoint
from edged.stages.publish.publisher import Publisher
lock = hold(parse_endpoint(sys.argv[1]))
publisher = Publisher([sys.argv[1]], device="d", boot="b") if len(sys.argv) > 2 else None
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(endpoint: Endpoint, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, endpoint.text, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def place(endpoint: str) -> Endpoint:
    return parse_endpoint(endpoint)


def test_a_second_holder_is_refused_by_name(place: Endpoint) -> None:
    with holder(place) as process:
        with pytest.raises(EndpointInUseError) as caught:
            hold(place)
        assert place.text in str(caught.value)
        assert str(process.pid) in str(caught.value)
        assert caught.value.exit_code == 75


def test_a_second_holder_in_the_same_process_is_refused_too(place: Endpoint) -> None:
    with hold(place), pytest.raises(EndpointInUseError):
        hold(place)
    with hold(place):
        pass


def test_a_killed_holder_leaves_nothing_in_the_way(place: Endpoint, sock_dir: Path) -> None:
    with holder(place, "bind") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert sorted(path.name for path in sock_dir.iterdir()) == ["pub.sock", "pub.sock.lock"]
        lock = hold(place)
    Publisher([place.text], device="d", boot="b").close(0)
    lock.release()
    assert list(sock_dir.iterdir()) == []


def test_release_removes_socket_and_lock_and_is_harmless_twice(place: Endpoint, sock_dir: Path) -> None:
    lock = hold(place)
    publisher = Publisher([place.text], device="d", boot="b")
    assert (sock_dir / "pub.sock").is_socket()
    publisher.close(0)
    lock.release()
    assert list(sock_dir.iterdir()) == []
    with hold(place):
        lock.release()
        with pytest.raises(EndpointInUseError):
            hold(place)


def test_the_lock_outlives_the_publisher(place: Endpoint) -> None:
    with hold(place):
        for _ in range(2):
            Publisher([place.text], device="d", boot="b").close(0)
            with pytest.raises(EndpointInUseError):
                hold(place)


def test_a_listener_without_lock_is_respected(place: Endpoint, sock_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.path))
        listener.listen(8)
        with pytest.raises(EndpointInUseError, match="listens there"):
            hold(place)
        assert [path.name for path in sock_dir.iterdir()] == ["pub.sock"]  # its socket stays, the lock file doesn't
    with hold(place):
        pass


def test_a_listener_that_is_going_away_is_waited_for(place: Endpoint) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.path))
    listener.listen(8)

    def leave() -> None:
        peer, _ = listener.accept()
        time.sleep(0.1)  # as a process takes to die
        listener.close()
        peer.close()

    thread = threading.Thread(target=leave)
    thread.start()
    with hold(place):
        pass
    thread.join(10)


def test_a_symbolic_link_is_not_followed(place: Endpoint, sock_dir: Path) -> None:
    target = sock_dir / "target"
    target.write_text("precious")
    (sock_dir / "pub.sock.lock").symlink_to(target)
    with pytest.raises(Exception, match="cannot be opened"):
        hold(place)
    assert target.read_text() == "precious"


def test_many_at_once_never_hold_together(place: Endpoint) -> None:
    holding = 0
    most = 0
    taken = 0
    mutex = threading.Lock()
    end = time.monotonic() + 1.0

    def contend() -> None:
        nonlocal holding, most, taken
        while time.monotonic() < end:
            try:
                lock = hold(place)
            except EndpointInUseError:
                continue
            with mutex:
                holding += 1
                taken += 1
                most = max(most, holding)
            time.sleep(0)
            with mutex:
                holding -= 1
            lock.release()

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert taken > 10
    assert most == 1


def test_a_tcp_port_in_use_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = parse_endpoint(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(EndpointInUseError, match="tcp://"):
            hold(endpoint)
    hold(endpoint).release()
