# SPDX-License-Identifier: Apache-2.0
"""Runs a script with CUDA's real Python bindings over a stand-in driver, in a process of its own."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "gpu_unit" / "stub_driver.c"
_COMPILER = shutil.which("cc")


def on_stub_driver(script: Path, folder: Path) -> str:
    """What a script printed, called with the path of the stand-in library.

    Args:
        script: must end with 0.
        folder: where the library is built.
    """
    if _COMPILER is None:
        pytest.skip("there is no C compiler (cc)")
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        pytest.skip("cuda-python is not installed")
    library = folder / "libcuda.so.1"
    words = ["-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run([_COMPILER, *words], check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(library)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(folder), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
