# SPDX-License-Identifier: Apache-2.0
"""Files are replaced whole or not at all, and no half-written file stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edged.files import write_atomically

_WRITER = """
import sys
from pathlib import Path
from edged.files import write_atomically
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    write_atomically(path, bytes([number % 251]) * 20000)
    if number == 3:
        print(flush=True)
"""


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"old", b"", b"new and longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"x")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "absent" / "a.json", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_reader_sees_one_content_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 50_000 for number in range(2)]
    write_atomically(path, contents[0])
    stop = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            content = path.read_bytes()
            if content not in contents:
                torn.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            write_atomically(path, contents[number % 2])
    finally:
        stop.set()
        reader.join(10)
    assert not torn


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        content = path.read_bytes()
        assert content == content[:1] * 20000
    # Leftovers, if any, are recognisable: hidden, and not the file itself.
    assert all(entry.name.startswith(".a.bin.") for entry in tmp_path.iterdir() if entry != path)
    assert os.access(path, os.R_OK)
