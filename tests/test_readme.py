# SPDX-License-Identifier: Apache-2.0
"""The README leads to every page, and its exit codes are those that the programs end with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edged.entry import INTERRUPTED
from edged.errors import BY_NAME

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(path.name for path in (REPO / "docs").glob("*.md")))
def test_every_page_is_listed(page: str) -> None:
    assert f"(docs/{page})" in README.partition("\n## More\n")[2]


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md"])
def test_every_exit_code_stands_in_the_table(name: str) -> None:
    table = re.search(r"\| (?:exit )?code \|.*\n\|---\|---\|\n((?:\|.*\n)+)", (REPO / name).read_text(encoding="utf-8"))
    assert table is not None
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", table[1], re.MULTILINE)]
    assert codes == sorted({0, INTERRUPTED, *(kind.exit_code for kind in BY_NAME.values())})


def test_commands_after_the_demo_are_those_of_its_environment() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if re.match(r"(\S*/)?edged ", line)]
    assert len(commands) >= 5
    assert all(line.startswith(".venv/bin/edged ") for line in commands)
