# SPDX-License-Identifier: Apache-2.0
"""Where the chains of `tools.gpu.chain` are run: folders, commands, what came of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edged.engine.manifest import Manifest
from edged.engine.store import model_folder, read_current, read_engine
from tools.gpu.building import TIMING_CACHE
from tools.gpu.chain_data import Subject, subjects
from tools.gpu.results import SkippedError
from tools.gpu.rig import ROOT

RESULTS = "chain-done.json"


class Bench:
    """Where it all happens.

    Args:
        folder: for models, stores and results.
        data: see `tools.gpu.chain_data`; may hold a timing cache of an earlier visit.
        json_folder: results are written there too; None for nowhere.
        backend: to build for.
    """

    def __init__(self, folder: Path, data: Path, json_folder: Path | None = None, backend: str = "tensorrt") -> None:
        self.folder = folder / "chain"
        self.backend = backend
        self._json = json_folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cache = self.folder / TIMING_CACHE
        if (data / TIMING_CACHE).is_file() and not self.cache.exists():
            shutil.copyfile(data / TIMING_CACHE, self.cache)
        self.subjects = subjects(data, self.folder)

    def subject(self, model: str) -> Subject:
        """A model with its images.

        Raises:
            SkippedError: they are not here.
        """
        if model not in self.subjects:
            raise SkippedError("needs its data: python -m tools.gpu.chain_data DATA")
        return self.subjects[model]

    def command(self, subject: Subject, state: Path, *flags: str) -> list[str]:
        """The command line of a whole build."""
        words = [sys.executable, "-m", "edged.engine.cli", str(subject.spec), "--backend", self.backend]
        words += ["--state-dir", str(state), "--timing-cache", str(self.cache)]
        words += ["--calibrate", str(subject.calib), "--evaluate", str(subject.val)]
        return [*words, *(("--labels", str(subject.labels)) if subject.labels else ()), *flags]

    def run(self, name: str, words: Sequence[str], limit_s: float) -> tuple[int, float, str]:
        """Run a command; returns exit code (-1 where it was not done in time), seconds, and all that it said."""
        log = self.folder / f"{name}.log"
        print("$", " ".join(words), flush=True)
        begin = time.monotonic()
        with log.open("wb") as file:
            try:
                done = subprocess.run(
                    words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=limit_s, check=False
                )
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = -1
        took = time.monotonic() - begin
        said = log.read_text("utf-8", "replace")
        print(said[-6000:], flush=True)
        self.keep(log)
        return code, round(took, 1), said

    def keep(self, path: Path) -> None:
        """Copy a file to where results go."""
        if self._json is not None and path.is_file():
            self._json.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self._json / f"chain-{path.name}".replace("chain-chain", "chain"))


def manifests(state: Path, model: str, backend: str) -> dict[str, Manifest]:
    """What a store holds of a model, by precision; and ``auto``."""
    engines = model_folder(state, model)
    names = read_current(engines).engines
    return {
        name.partition("/")[2]: read_engine(engines, key).manifest
        for name, key in names.items()
        if name.startswith(f"{backend}/")
    }


def done(folder: Path) -> dict[str, Any]:
    """Results of earlier calls."""
    path = folder / RESULTS
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
