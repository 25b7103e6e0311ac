# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` in the middle of chains: the store is whole, and the next build goes on where it was."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edged.engine.store import model_folder
from edged.files import TEMPORARY
from tools.gpu.chain_bench import Bench, manifests
from tools.gpu.chain_data import Subject
from tools.gpu.killed import inconsistent, kill
from tools.gpu.results import SkippedError
from tools.gpu.rig import ROOT

_KILLS = 3


def killed(
    bench: Bench,
    subject: Subject | None,
    chain_flags: Sequence[str],
    limit_s: float,
    whole_s: float,
    kills: int = _KILLS,
    seed: int = 0,
) -> dict[str, Any]:
    """Chains that are killed at random moments, and one that goes on to its end.

    Args:
        bench: where.
        subject: the model.
        chain_flags: of its build.
        limit_s: longest time of one.
        whole_s: how long one takes that is not killed.
        kills: how many.
        seed: of the moments.

    Raises:
        SkippedError: the model is not here.
    """
    if subject is None:
        raise SkippedError("needs its data: python -m tools.gpu.chain_data DATA")
    state = bench.folder / "killed"
    shutil.rmtree(state, ignore_errors=True)
    engines = model_folder(state, subject.spec.stem)
    flags = ("--precision", "auto", *chain_flags)
    words = bench.command(subject, state, *flags)
    plain = [*words[: words.index("--calibrate")], "--precision", "fp32", "--optimization-level", "0"]
    code, seconds, said = bench.run("killed-first", plain, 120)
    if code:
        return {"ok": False, "code": code, "said": said[-1500:]}
    chance = random.Random(seed)
    # What is done already is not done again, so that the moments come ever later in a build.
    moments = [_one(bench, words, engines, number, whole_s * chance.uniform(0.1, 0.45)) for number in range(kills)]
    problems = [one["problem"] for one in moments if one["problem"]]
    code, seconds, said = bench.run("killed-last", words, limit_s)
    problems += filter(None, [inconsistent(engines)])
    problems += [f"left behind: {path.name}" for path in state.rglob(f"*{TEMPORARY}")]
    resumed = [line.strip() for line in said.splitlines() if "was ended" in line or "known from before" in line]
    hit = sum(one["status"] == -9 for one in moments)
    return {
        "ok": not problems and code == 0 and hit > 0 and "auto" in manifests(state, subject.spec.stem, bench.backend),
        "target": f"{kills} kills, the store whole after each, the next build goes on",
        "moments": moments,
        "last": {"code": code, "seconds": seconds, "resumed": resumed},
        "problems": problems,
    }


def _one(bench: Bench, words: Sequence[str], engines: Path, number: int, after_s: float) -> dict[str, Any]:
    """Start a build, kill it after a time, and look at the store."""
    with (bench.folder / f"killed-{number}.log").open("wb") as log:
        build = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        status = kill(build, after_s)
    found = _unfinished(engines.parents[1])
    return {"after_s": round(after_s, 1), "status": status, "found": found, "problem": inconsistent(engines)}


def _unfinished(state: Path) -> list[str]:
    """What a killed build leaves for the next one."""
    return sorted(path.suffix for path in (state / "work").rglob("*") if path.is_file())
