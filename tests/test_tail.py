# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
from support.told import FOLDER

from edged.cli import main
from edged.messages import BY_SCHEMA, EVENT, Event
from edged.stages.publish.client import Received
from edged.stages.publish.tail import describe


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Puts the signal handler back that ``edged tail`` replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_tail_prints_what_is_published(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/tail.sock"
    sent = Event(device="d", boot="b", seq=1, at=1.0, kind="source-failed", text="gone", severity="error")
    done = threading.Event()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def publish() -> None:
        with context.socket(zmq.XPUB) as socket:
            socket.bind(endpoint)
            assert socket.poll(10_000)
            socket.recv()
            while not done.wait(0.02):
                socket.send_multipart([EVENT.encode(), msgspec.json.encode(sent)])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        assert main(["tail", "--connect", endpoint, "--json", "--count", "1", "--seconds", "10", EVENT]) == 0
    finally:
        done.set()
        thread.join(10)
        context.term()
    assert json.loads(capsys.readouterr().out)["kind"] == "source-failed"


def test_tail_ends_after_its_time_and_refuses_what_is_no_endpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["tail", "--connect", f"ipc://{tmp_path}/nobody.sock", "--seconds", "0.1"]) == 0
    assert main(["tail", "--connect", "nowhere"]) == 78
    assert capsys.readouterr().err.startswith("edged: nowhere: cannot connect")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_kind_of_message_is_one_line_for_people(file: Path) -> None:
    raw = file.read_bytes()
    message = msgspec.json.decode(raw, type=BY_SCHEMA[json.loads(raw)["schema"]])
    text = describe(Received("topic/", message, (), raw))
    assert len(text) > len("00:00:00.000 ")
    assert text.isprintable()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_is_stopped_without_an_error(tmp_path: Path, number: signal.Signals) -> None:
    endpoint = f"ipc://{tmp_path}/tail.sock"
    command = [sys.executable, "-m", "edged", "tail", "--connect", endpoint, "run"]  # a topic that looks like a command
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.XPUB) as socket:
        socket.bind(endpoint)
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert socket.poll(30_000), "tail did not subscribe"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    context.term()
    assert (process.returncode, err) == (0, b"")
