# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edged.errors import SettingsError
from edged.messages import BY_SCHEMA, EVENT, Event, Health, Message, Prediction
from edged.stages.publish.client import Received
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.tail import describe, describe_losses, run_tail

GOLDEN = Path(__file__).parents[2] / "fixtures" / "messages"
TAIL = """
import sys
from edged.stages.publish.tail import run_tail
sys.exit(run_tail(sys.argv[1], [], False, None, None, sys.stdout))
"""


def golden(name: str) -> Message:
    raw = (GOLDEN / f"{name}.json").read_bytes()
    return msgspec.json.decode(raw, type=BY_SCHEMA[json.loads(raw)["schema"]])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("prediction-detection", "north #5678 21 ms, batch 4: 1 person 0.91, 1 car 0.80"),
        ("prediction-classification", "photos #5678 21 ms, batch 1: tabby 0.74, tiger cat 0.19"),
        ("prediction-segmentation", "north #5678 21 ms, batch 4: mask 129x73"),
        ("prediction-raw", "north #5678 21 ms, batch 4: embedding float32[1, 256], norm float16[1]"),
        (
            "health",
            "health degraded (source south: no frame for 6 s) | north live 29.9 Hz, p99 38 ms, 12 dropped"
            " | south stalled (no frame for 6 s) 0.0 Hz, 1 dropped | yolox-nano tensorrt int8 | 2 subscribers",
        ),
        ("health-starting", "health starting | 0 subscribers"),
        ("stats", "stats up 62 s | supervisor 0.8 s CPU | infer 14.2 s CPU"),
        ("event", "warning source-failed south: no frame for 6 s; opening it again"),
    ],
)
def test_every_kind_has_its_line(name: str, line: str) -> None:
    text = describe(Received("t", golden(name), (), b""))
    clock, rest = text.split(" ", 1)
    assert len(clock) == len("12:03:04.147")
    assert rest == line


def test_detections_are_summed_up_by_label() -> None:
    message = golden("prediction-detection")
    assert isinstance(message, Prediction)
    assert isinstance(message.detections, list)
    message.detections = [*message.detections, *message.detections[:1]]
    assert describe(Received("t", message, (), b"")).endswith(": 2 person 0.91, 1 car 0.80")
    message.detections = []
    assert describe(Received("t", message, (), b"")).endswith(": nothing")


def test_a_terminal_is_safe_from_what_is_received() -> None:
    message = golden("event")
    assert isinstance(message, Event)
    message.text = "\x1b]0;owned\x07\nfake line"
    assert describe(Received(EVENT, message, (), b"")).isprintable()


def test_losses_come_before_what_followed_them() -> None:
    received = Received("v1/health/", golden("health"), (), b"", lost=2, tail_lost={EVENT: 3})
    assert describe_losses(received) == ["!! lost 2 of v1/health/", f"!! lost 3 of {EVENT}"]
    assert describe_losses(Received("t", golden("health"), (), b"")) == []


@pytest.fixture
def chatter(make_publisher: Callable[..., Publisher]) -> Iterator[Callable[[], None]]:
    """Start a publisher that sends events with a gap, again and again, from a thread of its own."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def talk(publisher: Publisher) -> None:
        while not stop.wait(0.01):
            publisher.poll_subscriptions()
            publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k", text="hello"))
            publisher.envelope(EVENT)

    def start() -> None:
        threads.append(threading.Thread(target=talk, args=(make_publisher(),)))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)


def test_it_prints_and_ends_after_a_count(chatter: Callable[[], None], endpoint: str) -> None:
    chatter()
    out = io.StringIO()
    assert run_tail(endpoint, ["v1/event/"], False, 3, 10, out) == 0
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("!!")] == [f"!! lost 1 of {EVENT}"] * 2
    assert len(lines) == 5


def test_json_lines_stay_json_lines(chatter: Callable[[], None], endpoint: str) -> None:
    chatter()
    out, err = io.StringIO(), io.StringIO()
    assert run_tail([endpoint], (), True, 3, 10, out, err=err) == 0
    assert [json.loads(line)["kind"] for line in out.getvalue().splitlines()] == ["k"] * 3
    assert err.getvalue() == f"!! lost 1 of {EVENT}\n" * 2


def test_silence_gets_one_hint(endpoint: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert run_tail(endpoint, (), False, None, 4.0, out, err=err) == 0
    assert out.getvalue() == ""
    (hint,) = err.getvalue().splitlines()
    assert endpoint in hint
    assert "daemon running" in hint


def test_seconds_end_it_early_and_without_hint(endpoint: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert run_tail(endpoint, (), False, None, 0.1, out, err=err) == 0
    assert out.getvalue() + err.getvalue() == ""


def test_a_wrong_endpoint_is_an_error() -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        run_tail("nonsense", (), False, None, 1, io.StringIO())


@pytest.mark.parametrize("ending", ["interrupt", "pipe"])
def test_it_ends_quietly_when_nobody_wants_more(chatter: Callable[[], None], endpoint: str, ending: str) -> None:
    chatter()
    with subprocess.Popen(
        [sys.executable, "-c", TAIL, endpoint], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert b"hello" in process.stdout.readline()
            if ending == "interrupt":
                os.kill(process.pid, signal.SIGINT)
            else:
                process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_health_without_anything_is_fine() -> None:
    message = golden("health-starting")
    assert isinstance(message, Health)
    assert "starting" in describe(Received("v1/health/", message, (), b""))
