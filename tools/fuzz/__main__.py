# SPDX-License-Identifier: Apache-2.0
"""Broken input by the ten thousand: settings, model specs, what the engine store holds, messages to the client.

    python -m tools.fuzz --cases 20000

Each case must be taken, or be refused in one printable line that names a place: no traceback, no crash, no hang (ten
seconds, or two of CPU time). A case that is none of these is kept as a file, with what happened beside it; its seed and
number make it again: ``--only configuration --seed 1 --first 4711 --cases 1``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.fuzz.run import DEADLINE_S, Failure, Outcome, Subject, explore
from tools.fuzz.sent import Sent
from tools.fuzz.stored import Stored
from tools.fuzz.written import Configuration, Spec

SUBJECTS: dict[str, Callable[[], Subject]] = {each.name: each for each in (Configuration, Spec, Stored, Sent)}
_SLICE = 2000
_SLICE_S = 1200.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 1 if a case did what none may do."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="Broken input by the ten thousand.")
    parser.add_argument("--cases", type=int, default=20_000, help="for each of the subjects")
    parser.add_argument("--only", choices=SUBJECTS, help="one subject")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for cases that failed")
    parser.add_argument("--inside", action="store_true", help="in this process: a crash ends the run")
    given = parser.parse_args(argv)
    given.keep.mkdir(parents=True, exist_ok=True)
    cases = range(given.first, given.first + given.cases)
    names = [given.only] if given.only else list(SUBJECTS)
    if given.inside:
        print(json.dumps(asdict(_inside(names[0], given.seed, cases, given.keep))))
        return 0
    bad = 0
    for name in names:
        begin = time.monotonic()
        outcome = _apart(name, given.seed, cases, given.keep)
        bad += len(outcome.failures)
        print(
            f"{name}: {len(cases)} cases in {time.monotonic() - begin:.0f} s: {outcome.taken} taken, {outcome.refused} "
            f"refused in one line, {len(outcome.failures)} failed; slowest {outcome.slowest_s * 1e3:.0f} ms "
            f"of CPU time (case {outcome.slowest})",
            flush=True,
        )
        for failure in outcome.failures[:20]:
            last = failure.what.strip().splitlines()[-1]
            print(f"  {name}, seed {given.seed}, case {failure.index}: {last[:300]}")
    if bad:
        print(f"kept in {given.keep}/")
    return int(bad > 0)


def _inside(name: str, seed: int, cases: range, keep: Path) -> Outcome:
    subject = SUBJECTS[name]()
    try:
        return explore(subject, seed, cases, keep)
    finally:
        subject.close()


def _apart(name: str, seed: int, cases: range, keep: Path) -> Outcome:
    """In processes of their own, so that a crash costs one case."""
    total = Outcome()
    first = cases.start
    while first < cases.stop:
        count = min(_SLICE, cases.stop - first)
        words = ["--only", name, "--seed", str(seed), "--first", str(first), "--cases", str(count), "--keep", str(keep)]
        command = [sys.executable, "-X", "faulthandler", "-m", "tools.fuzz", *words, "--inside"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SLICE_S, check=False)
        except subprocess.TimeoutExpired:
            index = _crashed(total, name, seed, keep, f"did not end, and not even {DEADLINE_S:g} s ended it")
        else:
            if done.returncode == 0:
                _add(total, json.loads(done.stdout.splitlines()[-1]))
                first += count
                continue
            index = _crashed(total, name, seed, keep, f"the process ended with {done.returncode}\n{done.stderr}")
        # The cases before it in this slice were fine, or are kept; they are not counted.
        first = index + 1
    return total


def _crashed(total: Outcome, name: str, seed: int, keep: Path, what: str) -> int:
    """Note a case that took the process along; returns its number."""
    running = keep / f"{name}-{seed}-running"
    if not running.is_file():
        sys.exit(f"{name}: {what}")
    content = running.read_bytes()
    index = int.from_bytes(content[:8], "big")
    running.unlink()
    (keep / f"{name}-{seed}-{index}").write_bytes(content[8:])
    (keep / f"{name}-{seed}-{index}.txt").write_text(what)
    total.failures.append(Failure(index, what))
    return index


def _add(total: Outcome, part: dict[str, Any]) -> None:
    total.taken += part["taken"]
    total.refused += part["refused"]
    total.failures += [Failure(**each) for each in part["failures"]]
    if part["slowest_s"] > total.slowest_s:
        total.slowest_s, total.slowest = part["slowest_s"], part["slowest"]


if __name__ == "__main__":
    sys.exit(main())
