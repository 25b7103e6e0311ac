# SPDX-License-Identifier: Apache-2.0
"""What the installer does, a step at a time: each says what it would change, and does nothing where that is so already.

Files go below a root, so that an installation can be made in the file system of another machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StepError(Exception):
    """A step failed; the text says which, and why."""


class Step(Protocol):
    """One change."""

    @property
    def text(self) -> str:
        """What it does, in the imperative."""
        ...

    def needed(self) -> bool:
        """Whether there is anything to do."""
        ...

    def do(self) -> None:
        """Do it.

        Raises:
            StepError: it failed.
        """
        ...


@dataclass(frozen=True)
class WriteFile:
    """Have a file with a content.

    Attributes:
        path: of the file.
        content: of the file.
        keep: whether a file that is there already stays as it is, whatever it holds.
        mode: of a new file.
    """

    path: Path
    content: str
    keep: bool = False
    mode: int = 0o644

    @property
    def text(self) -> str:
        """What it does."""
        return f"write {self.path}"

    def needed(self) -> bool:
        """Whether there is anything to do."""
        if not self.path.exists():
            return True
        return not self.keep and self.path.read_text() != self.content

    def do(self) -> None:
        """Write it in one go: whoever reads it meanwhile sees the old file or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(self.content)
        new.chmod(self.mode)
        new.rename(self.path)


@dataclass(frozen=True)
class MakeFolder:
    """Have a folder."""

    path: Path
    mode: int = 0o755

    @property
    def text(self) -> str:
        """What it does."""
        return f"create {self.path}"

    def needed(self) -> bool:
        """Whether there is anything to do."""
        return not self.path.is_dir()

    def do(self) -> None:
        """Create it with its parents."""
        self.path.mkdir(parents=True)
        self.path.chmod(self.mode)


@dataclass(frozen=True)
class Remove:
    """Have no such file or folder."""

    path: Path

    @property
    def text(self) -> str:
        """What it does."""
        return f"remove {self.path}"

    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.path.is_symlink() or self.path.exists()

    def do(self) -> None:
        """Remove it, a folder with all that is in it."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink()


@dataclass(frozen=True)
class PointTo:
    """Have a symbolic link; it is switched in one go.

    Attributes:
        path: of the link.
        target: relative to the link's folder.
    """

    path: Path
    target: str

    @property
    def text(self) -> str:
        """What it does."""
        return f"point {self.path} to {self.target}"

    def needed(self) -> bool:
        """Whether there is anything to do."""
        return not self.path.is_symlink() or os.readlink(self.path) != self.target

    def do(self) -> None:
        """Make or switch it."""
        new = self.path.with_name(self.path.name + ".new")
        new.unlink(missing_ok=True)
        new.symlink_to(self.target)
        new.rename(self.path)


@dataclass(frozen=True)
class Run:
    """Run programs, one after the other.

    Attributes:
        text: what that does, in the imperative.
        commands: program and arguments, each.
        unless: whether that is so already.
        must: whether the installation fails with it.
        user: who runs them, with the rights of that user's own group and nothing of our environment; empty for us.
    """

    text: str
    commands: Sequence[Sequence[str]]
    unless: Callable[[], bool] = lambda: False
    must: bool = True
    user: str = ""

    def needed(self) -> bool:
        """Whether there is anything to do."""
        return not self.unless()

    def do(self) -> None:
        """Run them; what they write is shown."""
        by = f" by the user {self.user}" if self.user else ""
        for command in self.commands:
            try:
                status = self._run(command)
            except OSError as error:
                raise StepError(f"{command[0]} cannot be run{by}: {error.strerror}") from error
            if status and self.must:
                raise StepError(f"{' '.join(command)} ended with status {status}{' when run' if by else ''}{by}")

    def _run(self, command: Sequence[str]) -> int:
        if not self.user:
            return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            check=False,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.defpath},
        ).returncode


def carry_out(steps: Sequence[Step], *, dry: bool, say: Callable[[str], None]) -> int:
    """Do what is needed, and say so.

    Args:
        steps: in order.
        dry: only say what would be done.
        say: takes each line.

    Returns:
        How many steps were needed.

    Raises:
        StepError: one failed; those before it are done, and the next run does the rest.
    """
    count = 0
    for step in steps:
        if step.needed():
            count += 1
            say(f"{'would ' if dry else ''}{step.text}")
            if not dry:
                try:
                    step.do()
                except OSError as error:
                    raise StepError(f"cannot {step.text}: {error}") from error
    return count
