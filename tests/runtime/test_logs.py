# SPDX-License-Identifier: Apache-2.0
"""The log in its three forms, and what becomes of an entry that comes again and again."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.runtime.logs import Folding, JournalHandler, set_up_logging, suitable_format


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The daemon's logger, as it was in the end."""
    logger = logging.getLogger("edged")
    before = logger.handlers, logger.level, logger.propagate
    yield logger
    for handler in logger.handlers:
        if handler not in before[0]:
            handler.close()
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


class Clock:
    """Monotonic seconds, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folding(logger: logging.Logger, written: io.StringIO, clock: Clock) -> Folding:
    handler = Folding(logging.StreamHandler(written), clock)
    logger.handlers = [handler]
    logger.setLevel("DEBUG")
    return handler


def test_a_file_gets_json_and_a_terminal_text(tmp_path: Path, logger: logging.Logger) -> None:
    with (tmp_path / "log").open("w") as stream:
        assert suitable_format(stream, {}) == "json"
        set_up_logging("info", "auto", stream, {})
        logger.warning('source %s is "down"\nnow', "north", extra={"event": "source-backoff", "source": "north"})
        logger.debug("not wanted")
    (line,) = (tmp_path / "log").read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("at") > 1.6e9
    text = 'source north is "down"\nnow'
    assert entry == {"level": "warning", "text": text, "event": "source-backoff", "source": "north"}
    main, terminal = pty.openpty()
    with open(terminal, "w") as stream:
        assert suitable_format(stream, {}) == "text"
        file = os.fstat(terminal)
        wrong = {"JOURNAL_STREAM": f"{file.st_dev}:{file.st_ino + 1}"}
        assert suitable_format(stream, wrong) == "text"
    os.close(main)


def test_the_journal_gets_fields(tmp_path: Path, logger: logging.Logger, written: io.StringIO) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(5.0)
        logger.handlers = [JournalHandler(written, path)]
        logger.setLevel("INFO")
        logger.error("two\nlines", extra={"event": "process-replaced", "source": ""})
        datagram = journal.recv(65536)
    text = b"two\nlines"
    assert datagram == (
        b"MESSAGE\n" + struct.pack("<Q", len(text)) + text + b"\n"
        b"PRIORITY=3\nSYSLOG_IDENTIFIER=edged\nEDGED_EVENT=process-replaced\n"
    )
    os.unlink(path)
    logger.info("nobody listens")
    assert "INFO    nobody listens" in written.getvalue()


def test_a_full_journal_is_not_waited_for(tmp_path: Path, logger: logging.Logger, written: io.StringIO) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        logger.handlers = [JournalHandler(written, path)]
        logger.setLevel("INFO")
        for number in range(2000):
            logger.info("entry %d", number)
    assert "entry 1999" in written.getvalue()


def test_what_repeats_is_counted(logger: logging.Logger, folding: Folding, written: io.StringIO, clock: Clock) -> None:
    for _ in range(5):
        logger.error("camera %s refuses", "north")
        clock.now += 1
    logger.error("camera south refuses")
    logger.warning("camera north refuses")
    for _ in range(2):
        logger.info("as it is")
    assert written.getvalue().splitlines() == [
        "camera north refuses",
        "camera south refuses",
        "camera north refuses",
        "as it is",
        "as it is",
    ]
    written.truncate(0)
    clock.now += 60
    folding.flush()
    folding.flush()
    assert written.getvalue().lstrip("\0") == "camera north refuses (3 times more in the last 65 s)\n"


def test_it_is_told_again_once_a_minute(
    logger: logging.Logger, folding: Folding, written: io.StringIO, clock: Clock
) -> None:
    for _ in range(181):
        logger.warning("too hot")
        clock.now += 1
    assert written.getvalue().splitlines() == ["too hot", *["too hot (59 times more in the last 60 s)"] * 3]
    logger.warning("too hot")
    folding.close()
    assert written.getvalue().splitlines()[4:] == ["too hot"], "the last one, which was only counted so far"


def test_what_was_counted_is_told_before_the_last_word(
    logger: logging.Logger, folding: Folding, written: io.StringIO
) -> None:
    for _ in range(3):
        logger.warning("lost")
    folding.settle()
    logger.error("the end")
    folding.close()
    assert [line.split(" (")[0] for line in written.getvalue().splitlines()] == ["lost", "lost", "the end"]


def test_what_was_counted_is_told_at_the_end_and_memory_is_bounded(
    logger: logging.Logger, folding: Folding, written: io.StringIO
) -> None:
    for number in range(1000):
        logger.warning("number %d", number)
        logger.warning("number %d", number)
    folding.close()
    lines = written.getvalue().splitlines()
    assert len(lines) == 2000
    assert all(lines.count(f"number {number}") == 2 for number in (0, 500, 999))
