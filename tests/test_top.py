# SPDX-License-Identifier: Apache-2.0
"""``edged top``: what it shows of a record, and how it behaves without a daemon, in a pipe and in a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest
from rich.console import Console
from support.told import full_record

from edged.cli import main
from edged.errors import DeviceUnavailableError
from edged.messages import HEALTH, STATS, THERMAL, Health, SourceHealth, Stats, Thermal
from edged.messages_stats import ProcessStats, StageTime
from edged.monitor.record import Record
from edged.stages.publish.client import Received
from edged.stages.publish.publisher import Publisher
from edged.top import Watch, run_top
from edged.top_figures import Figures, StageRate
from edged.top_view import duration, page


def stats_at(uptime_s: float, *, cpu_s: float = 0.0, runs: int = 0, wall_s: float = 0.0, boot: str = "b") -> Stats:
    """Statistics of one process with one stage."""
    times = {"infer": StageTime(count=runs, wall_s=wall_s)}
    processes = {"infer": ProcessStats(cpu_s=cpu_s, stages=times)}
    return Stats(device="d", boot=boot, seq=1, at=1.0, uptime_s=uptime_s, processes=processes)


def text_of(record: Record, width: int = 120, height: int | None = None, silent_s: float = 0.0) -> str:
    """A page as text."""
    figures = Figures()
    if record.stats is not None:
        figures.take(record.stats)
    console = Console(file=io.StringIO(), width=width)
    console.print(page(record, figures, width=width, height=height, silent_s=silent_s))
    return cast(io.StringIO, console.file).getvalue()


# the page ------------------------------------------------------------------------------------------------------------


def test_a_page_shows_what_the_record_says() -> None:
    record = full_record()
    text = text_of(record)
    health = record.health
    for name, source in health.sources.items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert source.state in line
        assert f"{source.rate_hz:.1f}" in line
        if source.age_ms is not None:
            assert f"{source.age_ms.p99:.1f} ms" in line
    for reason in health.reasons:
        assert reason in text
    assert health.engine is not None
    assert record.thermal is not None
    for expected in (
        health.device,
        health.state,
        health.engine.id,
        "gpu-thermal 94 °C (4 to the limit)",
        "gpu 612 of 612 MHz",
        "14.1 W",
        "unknown  temperature cv0-thermal (switched off)",
        "1m 23.4/s p99 32 ms 620 mJ a frame",
        "infer",
    ):
        assert expected in text, text
    for throttle in record.thermal.throttle:
        assert f"held back by {throttle.cause} since" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_every_width_shows_the_essentials_and_nothing_beyond_it(width: int) -> None:
    record = full_record()
    lines = text_of(record, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    for name, source in record.health.sources.items():
        assert any(line.startswith(name) and source.state in line for line in lines)
    assert any("infer" in line for line in lines)


def test_on_a_small_screen_those_in_trouble_stay() -> None:
    sources = {f"s{n}": SourceHealth(state="live") for n in range(50)}
    sources["bad"] = SourceHealth(state="backoff", reason="no route to the camera")
    record = Record(msgspec.structs.replace(full_record().health, sources=sources, reasons=[]))
    text = text_of(record, 80, 20)
    assert text.index("bad ") < text.index("s0 ")
    assert "no route" in text
    assert len(text.splitlines()) <= 20
    assert "more sources" in text
    assert "s49" in text_of(record, 80)


def test_what_is_received_cannot_drive_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07[bold red]x[/]\r\n"
    sources = {evil: SourceHealth(state="failed", reason=evil)}
    health = msgspec.structs.replace(full_record().health, device=evil, reasons=[evil], sources=sources)
    text = text_of(Record(health), 200)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold red]x[/]" in text  # not taken for markup either


def test_silence_is_told() -> None:
    assert "no word from the daemon for 7 s" in text_of(full_record(), silent_s=7.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (61, "1 min 1 s"), (7261, "2 h 1 min"), (90000, "1 d 1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# rates ---------------------------------------------------------------------------------------------------------------


def test_rates_are_of_the_last_second_and_survive_replaced_processes_and_restarts() -> None:
    figures = Figures()
    assert (figures.cpu("infer"), figures.stage("infer", "infer")) == (None, None)
    figures.take(stats_at(10.0, cpu_s=5.0, runs=100, wall_s=1.0))
    assert figures.cpu("infer") == pytest.approx(0.5)
    figures.take(stats_at(12.0, cpu_s=5.5, runs=160, wall_s=1.3))
    assert figures.cpu("infer") == pytest.approx(0.25)
    assert figures.stage("infer", "infer") == pytest.approx((30.0, 5.0))
    figures.take(stats_at(13.0, cpu_s=0.1, runs=160, wall_s=1.3))  # the process was replaced, and did nothing yet
    assert figures.cpu("infer") == pytest.approx(0.1)
    assert figures.stage("infer", "infer") == StageRate(0.0, None)
    figures.take(stats_at(1.0, cpu_s=0.3, runs=10, wall_s=0.1, boot="c"))  # so was the daemon
    assert figures.cpu("infer") == pytest.approx(0.3)
    assert (figures.cpu("x"), figures.stage("x", "y")) == (None, None)


# what is received ----------------------------------------------------------------------------------------------------


def received(message: Health | Stats | Thermal) -> Received:
    """A message as the client hands it over."""
    topic = {Health: HEALTH, Stats: STATS, Thermal: THERMAL}[type(message)]
    return Received(topic, message, (), b"")


def test_messages_of_one_life_of_the_daemon_are_shown_together() -> None:
    record = full_record()
    assert record.stats is not None
    assert record.thermal is not None
    watch = Watch()
    for message in (record.stats, record.thermal):
        watch.take(received(message))
    assert watch.record is None
    watch.take(received(record.health))  # the last one to come makes a page of them
    assert watch.complete
    assert watch.record == Record(record.health, record.stats, record.thermal)
    again = msgspec.structs.replace(record.health, boot="another")
    watch.take(received(again))
    assert watch.record == Record(again)
    watch.take(received(record.stats))  # late, from the life before
    assert watch.record == Record(again)


# the command ---------------------------------------------------------------------------------------------------------


@contextmanager
def publishing(folder: Path) -> Iterator[str]:
    """An endpoint at which a record is told ten times a second."""
    record = full_record()
    endpoint = f"ipc://{folder}/top.sock"
    done = threading.Event()

    def publish() -> None:
        publisher = Publisher([endpoint], device=record.health.device, boot=record.health.boot)
        while not done.wait(0.1):
            publisher.poll_subscriptions()
            for topic, message in ((STATS, record.stats), (THERMAL, record.thermal), (HEALTH, record.health)):
                assert message is not None
                number = publisher.envelope(topic)["seq"]
                publisher.publish(topic, msgspec.structs.replace(message, seq=number))
        publisher.close(0)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield endpoint
    finally:
        done.set()
        thread.join(10)


def test_one_page_for_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with publishing(tmp_path) as endpoint:
            assert main(["top", "--connect", endpoint]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    text = capsys.readouterr().out
    assert full_record().health.device in text
    assert "gpu-thermal" in text
    assert "\x1b" not in text


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/nobody.sock"
    with pytest.raises(DeviceUnavailableError, match=r"nobody\.sock: no daemon said anything within 0\.2 s") as error:
        run_top(endpoint, once=True, out=io.StringIO(), patience_s=0.2)
    assert error.value.exit_code == 69


def test_what_is_no_endpoint_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["top", "--connect", "nowhere"]) == 78
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err.startswith("edged: nowhere: cannot connect")


def test_in_a_terminal_it_goes_on_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with publishing(tmp_path) as endpoint:
        command = [sys.executable, "-m", "edged", "top", "--connect", endpoint]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "90", "LINES": "30"}
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        try:
            shown = _read_until(ours, lambda text: text.count("gpu-thermal") >= 2, 20)
            process.send_signal(signal.SIGINT)
            shown += _read_until(ours, lambda text: "\x1b[?1049l" in text, 10)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait(10)
            os.close(ours)
    assert "\x1b[?1049h" in shown  # a screen of its own, which is gone in the end, as is the hidden cursor
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "Traceback" not in shown


def _read_until(terminal: int, enough: object, timeout_s: float) -> str:
    text, end = "", time.monotonic() + timeout_s
    assert callable(enough)
    while not enough(text):
        assert time.monotonic() < end, text
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
    return text
