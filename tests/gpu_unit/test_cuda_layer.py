# SPDX-License-Identifier: Apache-2.0
"""The CUDA layer over the real Python bindings and a stand-in driver, in a process of its own."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
COMPILER = shutil.which("cc")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (cc)")
@pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None,
    reason="cuda-python is not installed",
)
def test_the_cuda_layer_on_a_stand_in_driver(tmp_path: Path) -> None:
    library = tmp_path / "libcuda.so.1"
    assert COMPILER is not None
    source = str(HERE / "stub_driver.c")
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o", str(library), source, "-ldl"],
        check=True,
        timeout=60,
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "stub_cases.py"), str(library)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=HERE.parent.parent,
        env={"PYTHONPATH": str(HERE.parent.parent), "LD_LIBRARY_PATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("test_") == (HERE / "stub_cases.py").read_text("utf-8").count("\ndef test_")
