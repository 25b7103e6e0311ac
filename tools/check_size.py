#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Refuse Python files and functions that have grown too long to have one reason to change.

    python tools/check_size.py [FOLDER…]     default: edged and tools

A file of more than 400 lines or a function of more than 60 is an error and ends with exit code 1. Files above 300 lines
and functions above 40 are listed, but pass. A function counts from its ``def`` to its last line, docstring included,
decorators not; functions inside it count as part of it and by themselves.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
FOLDERS = (REPO / "edged", REPO / "tools")
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


class Limit(NamedTuple):
    """How many lines are listed, and how many are refused."""

    listed_above: int
    refused_above: int


FILE = Limit(300, 400)
FUNCTION = Limit(40, 60)


class Finding(NamedTuple):
    """One file or function that is long.

    Attributes:
        where: path, and the line for a function.
        what: ``file``, or the function's dotted name.
        lines: how many it has.
        limit: what applies to it.
    """

    where: str
    what: str
    lines: int
    limit: Limit

    @property
    def refused(self) -> bool:
        """Whether it is too long, not only long."""
        return self.lines > self.limit.refused_above

    def __str__(self) -> str:
        word = f"at most {self.limit.refused_above}; split it" if self.refused else f"aim at {self.limit.listed_above}"
        return f"{self.where}: {self.what} has {self.lines} lines, {word}"


def findings(folders: Iterable[Path]) -> list[Finding]:
    """Everything long in the Python files below some folders, by path and line.

    Raises:
        SyntaxError: a file is not Python.
    """
    found: list[Finding] = []
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            found += _of_file(path)
    return found


def _of_file(path: Path) -> Iterator[Finding]:
    text = path.read_text(encoding="utf-8")
    shown = str(path.relative_to(REPO) if path.is_relative_to(REPO) else path)
    count = len(text.splitlines())
    if count > FILE.listed_above:
        yield Finding(shown, "file", count, FILE)
    for name, line, length in functions(ast.parse(text, filename=shown)):
        if length > FUNCTION.listed_above:
            yield Finding(f"{shown}:{line}", name, length, FUNCTION)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Dotted name, first line and number of lines of every function in a syntax tree, in the order of the text."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _FUNCTION):
            yield prefix + node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1
        inner = f"{prefix}{node.name}." if isinstance(node, _FUNCTION | ast.ClassDef) else prefix
        yield from functions(node, inner)


def main(argv: Sequence[str] | None = None) -> int:
    """Check, and print what is long; the exit code is 1 when something is too long."""
    parser = argparse.ArgumentParser(description="Refuse Python files and functions that are too long.")
    parser.add_argument("folders", nargs="*", type=Path, default=FOLDERS, metavar="FOLDER")
    given = parser.parse_args(argv)
    missing = [folder for folder in given.folders if not folder.is_dir()]
    if missing:
        parser.error(f"{missing[0]} is not a folder")
    found = findings(given.folders)
    for finding in sorted(found, key=lambda one: one.refused):
        print(f"{'too long' if finding.refused else 'long'}: {finding}")
    return 1 if any(finding.refused for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main())
