# SPDX-License-Identifier: Apache-2.0
"""Running cases: what is allowed to come of one, and what is kept of those of which something else came."""

from __future__ import annotations

import random
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from edged.errors import EdgedError, UsageError

SECRET = "hunter2"
"""A password that stands in some good inputs: no error may repeat it."""
DEADLINE_S = 10.0
MOST_CPU_S = 2.0
_LONGEST_TEXT = 4000


class Subject(Protocol):
    """Something that reads input."""

    name: str

    def case(self, rng: random.Random) -> bytes:
        """A broken input."""
        ...

    def run(self, case: bytes) -> None:
        """Read it.

        Raises:
            EdgedError: it was refused, as it should be.
            AssertionError: it was taken, and something about that is wrong.
        """
        ...

    def close(self) -> None:
        """Remove what it needed."""
        ...


class HangError(BaseException):
    """A case took too long; no `Exception`, so that nothing that is tried takes it for one of its own."""


@dataclass(frozen=True)
class Failure:
    """A case that did what none may do.

    Attributes:
        index: its number; with the seed it makes the case again.
        what: happened, with the traceback where there is one.
    """

    index: int
    what: str


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        taken: cases that were good after all.
        refused: cases that were refused in one line.
        failures: all others.
        slowest_s: CPU seconds of the slowest case.
        slowest: its number.
    """

    taken: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = 0


def explore(subject: Subject, seed: int, cases: range, keep: Path | None = None) -> Outcome:
    """Run cases one by one; a failing one is kept as ``<subject>-<seed>-<index>`` beside what happened.

    Args:
        subject: reads them.
        seed: of all cases.
        cases: their numbers.
        keep: folder for cases that fail; the one that is running lies there too, as ``<subject>-<seed>-running``, for a
            crash leaves no other trace.
    """
    outcome = Outcome()
    for index in cases:
        case = make_case(subject, seed, index)
        running = None if keep is None else keep / f"{subject.name}-{seed}-running"
        if running is not None:
            running.write_bytes(index.to_bytes(8, "big") + case)
        begin = time.process_time()
        what = _run(subject, case, outcome)
        took = time.process_time() - begin
        if took > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = took, index
        if not what and took > MOST_CPU_S:
            what = f"took {took:.1f} s of CPU time"
        if what:
            outcome.failures.append(Failure(index, what))
            if keep is not None:
                (keep / f"{subject.name}-{seed}-{index}").write_bytes(case)
                (keep / f"{subject.name}-{seed}-{index}.txt").write_text(what, errors="backslashreplace")
    if keep is not None:
        (keep / f"{subject.name}-{seed}-running").unlink(missing_ok=True)
    return outcome


def make_case(subject: Subject, seed: int, index: int) -> bytes:
    """The same case for the same numbers."""
    return subject.case(random.Random(f"{subject.name}/{seed}/{index}"))


def complaint(error: EdgedError) -> str:
    """What is wrong with an error's text; empty when it is one printable line that names a place and no secret."""
    text = str(error)
    if not text.isprintable():
        return f"not one printable line: {text[:500]!a}"
    if len(text) > _LONGEST_TEXT:
        return f"{len(text)} characters long: {text[:500]}"
    if not error.where and not isinstance(error, UsageError):
        return f"names no place: {text}"
    if SECRET in text:
        return f"repeats a password: {text}"
    return ""


def _run(subject: Subject, case: bytes, outcome: Outcome) -> str:
    try:
        with _deadline(DEADLINE_S):
            subject.run(case)
    except EdgedError as error:
        outcome.refused += 1
        return complaint(error)
    except HangError:
        return f"not done after {DEADLINE_S:g} s\n{traceback.format_exc()}"
    except Exception:  # noqa: BLE001 - whatever it is, it is what this looks for
        return traceback.format_exc()
    outcome.taken += 1
    return ""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def hang(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def remove(folder: Path) -> None:
    """Remove a subject's folder."""
    shutil.rmtree(folder, ignore_errors=True)
