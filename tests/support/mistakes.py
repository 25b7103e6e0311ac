# SPDX-License-Identifier: Apache-2.0
"""What a user may get wrong: a good folder, and the ways to spoil it; see ``end_to_end/test_bad_input.py``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from support.daemon import ASSETS, wait_until

SECRET = "hunter2"
END_S = 30.0

SETTINGS = """\
[daemon]
name = "test"
state_dir = "state"
isolation = "process"
[[sources]]
name = "north"
uri = "synthetic://shapes"
[model]
spec = "shapes.toml"
[engine]
max_batch = 1
[publish]
bind = ["ipc://FOLDER/predictions.sock"]
[http]
bind = ""
"""
URI = 'uri = "synthetic://shapes"'
BIND = "ipc://FOLDER/predictions.sock"

Change = tuple[str, str]
Prepare = Callable[[Path], "AbstractContextManager[object] | None"]


@dataclass(frozen=True)
class Case:
    """What is wrong, and what must be said of it.

    Attributes:
        code: of ``edged run``.
        says: pieces of the line on stderr; FOLDER stands for the folder of the settings.
        settings: replacement in the settings file, or None for no file at all.
        spec: replacement in the model spec.
        files: files to write beside them.
        prepare: whatever else is to be done to the folder first; may return a context to keep open meanwhile.
        environ: environment variables.
        flags: of both commands.
        command: in place of ``run`` and ``check``.
        check: exit code of ``edged check``; that of ``run`` if None.
    """

    code: int
    says: tuple[str, ...]
    settings: Change | None = ("", "")
    spec: Change = ("", "")
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    prepare: Prepare = lambda folder: None
    environ: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    check: int | None = None


def source(uri: str) -> Change:
    return URI, f'uri = "{uri}"'


def engine(line: str) -> Change:
    return "max_batch = 1\n", f"{line}\n"


def lay_out(folder: Path) -> None:
    """Put everything that a daemon needs into a folder, all of it right."""
    for name in ("shapes.toml", "shapes.onnx", "shapes.names"):
        shutil.copy(ASSETS / name, folder)
    (folder / "edged.toml").write_text(SETTINGS.replace("FOLDER", str(folder)))


def spoil(folder: Path, case: Case) -> AbstractContextManager[object]:
    """Make a good folder bad."""
    for name, change in (("edged.toml", case.settings), ("shapes.toml", case.spec)):
        path = folder / name
        if change is None:
            path.unlink()
            continue
        before, after = (text.replace("FOLDER", str(folder)) for text in change)
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))
    for name, content in case.files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return case.prepare(folder) or nullcontext()


class Command:
    """One ``edged`` command in a process group of its own, so that whatever it leaves behind is found."""

    def __init__(self, folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edged", *arguments],
            cwd=folder,
            env={**clean, "PYTHONPATH": str(ASSETS.parents[1]), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, list[str]]:
        """Wait for its end; returns the exit code and the lines on stderr."""
        try:
            _, stderr = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            _, stderr = self._process.communicate()
            raise AssertionError(f"still running after {END_S:g} s:\n{stderr}") from None
        wait_until(lambda: not self._group_lives(), 2.0, "end of every child")
        return self._process.returncode, stderr.splitlines()

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def special_files(folder: Path) -> set[Path]:
    """Sockets, locks and half-written files."""
    return {path for path in folder.rglob("*") if path.is_socket() or path.suffix in (".lock", ".tmp")}
