# SPDX-License-Identifier: Apache-2.0
"""The size gate: what it counts, what it lists and what it refuses."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_size.py"
NAMES: dict[str, Any] = runpy.run_path(str(TOOL))
functions, findings, main = NAMES["functions"], NAMES["findings"], NAMES["main"]


def function_of(lines: int, name: str = "work") -> str:
    """A function with so many lines, its ``def`` included."""
    return f"def {name}():\n" + "    pass\n" * (lines - 1)


def file_of(lines: int) -> str:
    """A file with so many lines."""
    return "x = 1\n" * lines


def test_functions_are_counted_from_def_to_the_last_line() -> None:
    tree = ast.parse('@decorated\ndef a(\n    x,\n):\n    """Text."""\n\n    return x\n\n\nasync def b(): ...\n')
    assert list(functions(tree)) == [("a", 2, 6), ("b", 10, 1)]


def test_methods_and_inner_functions_are_named_in_full() -> None:
    text = "class C:\n    def m(self):\n        def inner():\n            pass\n        return inner\n"
    text += "if True:\n    def n(): pass\n"
    assert list(functions(ast.parse(text))) == [("C.m", 2, 4), ("C.m.inner", 3, 2), ("n", 7, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (file_of(300), None),
        (file_of(301), ("file", 301, False)),
        (file_of(400), ("file", 400, False)),
        (file_of(401), ("file", 401, True)),
        (function_of(40), None),
        (function_of(41), ("work", 41, False)),
        (function_of(60), ("work", 60, False)),
        (function_of(61), ("work", 61, True)),
    ],
)
def test_limits(tmp_path: Path, text: str, expected: tuple[str, int, bool] | None) -> None:
    (tmp_path / "module.py").write_text(text)
    found = [(each.what, each.lines, each.refused) for each in findings([tmp_path])]
    assert found == ([] if expected is None else [expected])


def test_only_what_is_too_long_fails_and_is_said_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "long.py").write_text(function_of(41, "listed"))
    (tmp_path / "not_python.txt").write_text(file_of(500))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"long: {tmp_path}/deep/long.py:1: listed has 41 lines, aim at 40\n"
    (tmp_path / "a.py").write_text(function_of(61, "refused"))
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["long", "too long"]
    assert lines[1].endswith("a.py:1: refused has 61 lines, at most 60; split it")


def test_a_folder_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, TOOL, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not a folder" in done.stderr


def test_the_project_passes() -> None:
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
