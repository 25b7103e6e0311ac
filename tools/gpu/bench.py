# SPDX-License-Identifier: Apache-2.0
"""``edged bench`` on a ResNet-18, as users run it: that it ends well, and what it says is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools.gpu.rig import ROOT, spec_of

_LIMIT_S = 220.0


def bench(folder: Path) -> dict[str, Any]:
    """Run it with a sweep of batch sizes and its layers; the text goes to ``bench.txt``, the figures beside it."""
    figures = folder / "bench-figures.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", "edged", "bench", str(spec_of(folder, "resnet18")), "--sweep", "--layers"]
    command += ["--precision", "fp16", "--backend", "tensorrt", "--state-dir", str(folder / "state")]
    command += ["--rounds", "6", "--seconds", "0.25", "--json", str(figures), "--plot", str(folder / "bench.svg")]
    begin = time.monotonic()
    ended = subprocess.run(
        command,
        cwd=ROOT,
        timeout=_LIMIT_S,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    (folder / "bench.txt").write_text(ended.stdout)
    print(ended.stdout[-8000:], flush=True)
    kept = figures.is_file() and bool(json.loads(figures.read_text()))
    return {
        "ok": ended.returncode == 0 and kept,
        "target": "exit 0, figures as JSON",
        "code": ended.returncode,
        "seconds": round(time.monotonic() - begin, 1),
        "kept": kept,
        "said": ended.stdout[-1500:],
    }
