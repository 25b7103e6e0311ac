# SPDX-License-Identifier: Apache-2.0
"""The daemon's log: fields for systemd's journal, text on a terminal, JSON for everybody else; what repeats is folded.

Only the supervisor logs. What its children have to say comes over their control channels.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TextIO

LogFormat = Literal["auto", "text", "json", "journal"]
JOURNAL = "/run/systemd/journal/socket"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_FIELDS = ("event", "source")
"""What a log record may carry besides its text: the kind of the event that was published, and its source."""
_LONGEST_TEXT = 32_768
_FOLD_S = 60.0
_MOST_FOLDED = 256


def set_up_logging(level: str, form: LogFormat, stream: TextIO, environ: Mapping[str, str]) -> None:
    """Let the logger ``edged`` write from now on.

    Args:
        level: least severity that is written.
        form: ``auto`` looks at where the stream goes.
        stream: standard error.
        environ: the environment, in which systemd says which stream is its journal's.
    """
    target: logging.Handler
    chosen = form if form != "auto" else suitable_format(stream, environ)
    if chosen == "journal":
        target = JournalHandler(stream)
    else:
        target = logging.StreamHandler(stream)
        target.setFormatter(JsonFormatter() if chosen == "json" else text_formatter())
    logger = logging.getLogger("edged")
    for handler in logger.handlers:
        handler.close()
    logger.handlers = [Folding(target)]
    logger.setLevel(level.upper())
    logger.propagate = False


def settle_log() -> None:
    """Write what was only counted so far, so that what is said next is the last word."""
    for handler in logging.getLogger("edged").handlers:
        if isinstance(handler, Folding):
            handler.settle()


def suitable_format(stream: TextIO, environ: Mapping[str, str]) -> Literal["text", "json", "journal"]:
    """What fits a stream: the journal's own form if it ends there, text for people, JSON for programs."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "text"
    # systemd.exec(5): device and inode of the stream that it connected to the journal.
    if environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}" and Path(JOURNAL).is_socket():
        return "journal"
    return "text" if stream.isatty() else "json"


def text_formatter() -> logging.Formatter:
    """One line an entry, for people."""
    return logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at`` (Unix seconds), ``level``, ``text``, and ``event`` and ``source`` where known."""

    def format(self, record: logging.LogRecord) -> str:
        """One entry."""
        entry: dict[str, object] = {"at": round(record.created, 3), "level": record.levelname.lower()}
        entry["text"] = record.getMessage()
        entry |= fields_of(record)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class JournalHandler(logging.Handler):
    """Sends entries to systemd's journal in its native protocol; what cannot be sent goes to a stream as text.

    Source of the protocol: systemd's "Native Journal Protocol". Fields: ``MESSAGE``, ``PRIORITY``, ``EDGED_EVENT``,
    ``EDGED_SOURCE``.

    Args:
        stream: for what cannot be sent.
        path: of the journal's socket.
    """

    def __init__(self, stream: TextIO, path: str = JOURNAL) -> None:
        super().__init__()
        self._path = path
        self._fallback = logging.StreamHandler(stream)
        self._fallback.setFormatter(text_formatter())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send an entry; never waits."""
        text = self.format(record)[:_LONGEST_TEXT]
        fields = {"MESSAGE": text, "PRIORITY": str(_PRIORITIES.get(record.levelno, 5)), "SYSLOG_IDENTIFIER": "edged"}
        fields |= {f"EDGED_{name.upper()}": value for name, value in fields_of(record).items()}
        try:
            self._socket.sendto(b"".join(_field(name, value) for name, value in fields.items()), self._path)
        except OSError:
            self._fallback.emit(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


class Folding(logging.Handler):
    """Hands on what is new; a warning or an error that was told within the last minute is only counted.

    ``flush`` tells the counts whose minute is over, ``settle`` and ``close`` all of them.

    Args:
        target: writes.
        clock: monotonic seconds.
    """

    def __init__(self, target: logging.Handler, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._target = target
        self._clock = clock
        self._told: OrderedDict[tuple[int, str], _Told] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Write, or count."""
        if record.levelno < logging.WARNING or record.exc_info:
            self._target.handle(record)
            return
        key, now = (record.levelno, record.getMessage()), self._clock()
        known = self._told.get(key)
        if known is not None and now - known.at < _FOLD_S:
            known.more += 1
            known.record = record
            return
        self._write(record, known.more if known is not None else 0, now - known.at if known is not None else 0.0)
        self._told[key] = _Told(now, record)
        self._told.move_to_end(key)
        while len(self._told) > _MOST_FOLDED:
            self._settle(self._told.popitem(last=False)[1], now)

    def flush(self) -> None:
        """Tell the counts whose minute is over."""
        self.acquire()
        try:
            now = self._clock()
            for key in [key for key, known in self._told.items() if now - known.at >= _FOLD_S]:
                self._settle(self._told.pop(key), now)
        finally:
            self.release()
        self._target.flush()

    def settle(self) -> None:
        """Tell what is still to tell."""
        self.acquire()
        try:
            for known in self._told.values():
                self._settle(known, self._clock())
            self._told.clear()
        finally:
            self.release()

    def close(self) -> None:
        """Tell what is still to tell; nothing is written any more."""
        self.settle()
        self._target.close()
        super().close()

    def _settle(self, known: _Told, now: float) -> None:
        """Write the newest of those that were only counted, if there are any."""
        if known.more:
            self._write(known.record, known.more - 1, now - known.at)

    def _write(self, record: logging.LogRecord, more: int, seconds: float) -> None:
        """Write an entry, with how many more of it there were since it was written last."""
        if more:
            text = f"{record.getMessage()} ({more} times more in the last {seconds:.0f} s)"
            record = logging.makeLogRecord({**record.__dict__, "msg": text, "args": None})
        self._target.handle(record)


class _Told:
    """An entry that was written: when, and what came since.

    Attributes:
        at: monotonic seconds.
        record: the newest of its kind.
        more: how many came since and were not written.
    """

    __slots__ = ("at", "more", "record")

    def __init__(self, at: float, record: logging.LogRecord) -> None:
        self.at = at
        self.record = record
        self.more = 0


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """What a record carries besides its text."""
    return {name: value for name in _FIELDS if (value := getattr(record, name, ""))}


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
