# SPDX-License-Identifier: Apache-2.0
"""What ``edged export`` says of code that is no model: in a real process, with a stand-in for PyTorch on its path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edged.cli import main

REPO = Path(__file__).resolve().parents[2]
STANDIN = {
    "torch/__init__.py": "from torch import nn, onnx\n",
    "torch/nn.py": "class Module:\n    pass\n",
    "torch/onnx.py": "",
}
CODE = """\
import os

NUMBER = 3

class Inner:
    @staticmethod
    def broken():
        return {}["backbone"]

def broken():
    raise ValueError("no such\\nbackbone")

def text():
    return "a model"

def needs(argument):
    return argument
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {**STANDIN, "mine.py": CODE, "unfinished.py": "def x(:\n", "hungry.py": "import no_such_thing\n"}
    files["sub/__init__.py"], files["loud.py"] = "", "print('hello from the module')\n1 / 0\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a child in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(REPO)])
    command = [sys.executable, "-m", "edged", "export", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


FAULTS = [
    ("mine:broken", 'the factory failed: ValueError: no such backbone (mine.py:11: raise ValueError("no such'),
    ("mine:Inner.broken", "the factory failed: KeyError: 'backbone' (mine.py:8: return {}[\"backbone\"])"),
    ("mine:needs", "the factory failed: TypeError: needs() missing 1 required positional argument: 'argument'"),
    ("mine:text", "the factory returned str, not a torch.nn.Module; return the model itself"),
    ("mine:NUMBER", "it is neither a model nor callable, but int; name a torch.nn.Module"),
    ("mine:brokn", "mine has no brokn; did you mean broken?"),
    ("nowhere:x", "there is no module nowhere in this folder or on Python's path; run it in the folder that"),
    ("sub.nowhere:x", "there is no module sub.nowhere in this folder"),
    ("unfinished:x", "module unfinished cannot be imported: SyntaxError: "),
    ("hungry:x", "module hungry needs another: ModuleNotFoundError: No module named 'no_such_thing' (hungry.py:1: "),
    ("loud:x", "module loud cannot be imported: ZeroDivisionError: division by zero (loud.py:2: 1 / 0)"),
]


@pytest.mark.parametrize(("app", "message"), FAULTS, ids=[app for app, _ in FAULTS])
def test_faults_of_the_users_code_are_one_line(app: str, message: str, folder: Path) -> None:
    code, _, err = run(folder, app)
    assert code == 78, err
    assert err.startswith(f"edged: {app}: {message}")
    assert err.count("\n") == 1
    assert not list(folder.glob("*.onnx")) + list(folder.glob("*.toml"))


def test_traceback_shows_the_users_code(folder: Path) -> None:
    code, _, err = run(folder, "mine:broken", "--traceback")
    assert code != 0
    assert "Traceback" in err
    assert 'raise ValueError("no such\\nbackbone")' in err


def test_without_pytorch_it_says_how_to_get_it(folder: Path) -> None:
    (folder / "torch/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    code, out, err = run(folder, "mine:broken")
    assert (code, out) == (69, "")
    assert err.startswith("edged: PyTorch is not installed; pip install torch in this Python")
    assert err.count("\n") == 1


def test_a_broken_pytorch_is_not_a_missing_one(folder: Path) -> None:
    (folder / "torch/__init__.py").write_text("raise ImportError('libcudart.so.12: no such file')\n")
    code, _, err = run(folder, "mine:broken")
    assert code == 69
    assert err.startswith("edged: PyTorch cannot be imported: libcudart.so.12: no such file; pip install torch")


@pytest.mark.parametrize("suffix", [".onnx", ".toml"])
def test_files_are_not_replaced_unless_asked(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"m{suffix}").write_text("precious")
    assert main(["export", "nowhere:x", "--id", "m", "--output", str(tmp_path)]) == 78
    assert capsys.readouterr().err.startswith(f"edged: {tmp_path}/m{suffix}: it is there already; --force replaces it")
    assert (tmp_path / f"m{suffix}").read_text() == "precious"
