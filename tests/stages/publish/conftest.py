# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from support.ports import tcp_endpoint

from edged.stages.publish.publisher import Publisher


@pytest.fixture
def sock_dir() -> Iterator[Path]:
    """A folder with a short path: sockets take 107 bytes, and tmp_path may be longer."""
    folder = Path(tempfile.mkdtemp(prefix="edged-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def endpoint(sock_dir: Path) -> str:
    return f"ipc://{sock_dir}/pub.sock"


@pytest.fixture
def tcp() -> str:
    """An endpoint on the loopback interface."""
    return tcp_endpoint()


@pytest.fixture
def make_publisher(endpoint: str) -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def make(**options: object) -> Publisher:
        arguments: dict[str, object] = {"binds": [endpoint], "device": "gate-7", "boot": "boot-1", **options}
        made.append(Publisher(**arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for publisher in made:
        publisher.close(0)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Serve a publisher's sockets until a condition holds, or fail after 10 s."""

    def wait(publisher: Publisher, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        poller = zmq.Poller()
        for socket in publisher.poller_sockets:
            poller.register(socket, zmq.POLLIN)
        publisher.poll_subscriptions()
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            poller.poll(100)
            publisher.poll_subscriptions()

    return wait
