# SPDX-License-Identifier: Apache-2.0
"""The table of events in docs/messages.md holds every kind that edged publishes, and no other.

Kinds are collected from the source text: whatever calls one of the few functions that make an event has to name its
kind there and then.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from edged.messages import SourceState
from edged.monitor.causes_events import ThrottleEvent
from edged.monitor.governor.state import Decision

REPO = Path(__file__).resolve().parents[1]
MAKERS = {"announce", "_announce", "Happened"}
"""Functions and classes whose first argument is the kind of an event; ``Notice`` of ``web.py`` is a fourth."""
FAMILIES: dict[str, object] = {
    "source-{state}": SourceState,
    "throttle-{event.kind}": get_type_hints(ThrottleEvent)["kind"],
    "governor-{decision.kind}": get_type_hints(Decision)["kind"],
}
"""Kinds that are put together, and the type of what stands in the braces."""


def makes_an_event(call: ast.Call, path: Path) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in MAKERS or (name == "Notice" and path.name == "web.py")


@cache
def calls() -> list[tuple[Path, ast.Call]]:
    """Every call in the package, and the file that it stands in."""
    paths = sorted((REPO / "edged").rglob("*.py"))
    trees = ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)
    return [(path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]


def kinds_of(first: ast.expr, where: str) -> set[str]:
    """The kinds that one call may publish."""
    if isinstance(first, ast.IfExp):
        return kinds_of(first.body, where) | kinds_of(first.orelse, where)
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return {first.value}
    if isinstance(first, ast.JoinedStr):
        pattern = ast.unparse(first)[2:-1]
        assert pattern in FAMILIES, f"{where}: which kinds may {pattern} be? Add it to FAMILIES"
        assert get_origin(FAMILIES[pattern]) is Literal
        return {re.sub(r"\{.*\}", str(member), pattern) for member in get_args(FAMILIES[pattern])}
    # Handed on from a Happened or a Notice, which is counted where it is made.
    assert isinstance(first, ast.Attribute), f"{where}: write the kind of the event where it is made"
    assert first.attr == "kind", f"{where}: write the kind of the event where it is made"
    return set()


@pytest.fixture(scope="module")
def published() -> set[str]:
    found: set[str] = set()
    for path, call in calls():
        if makes_an_event(call, path):
            first = call.args[0] if call.args else call.keywords[0].value
            found |= kinds_of(first, f"{path.relative_to(REPO)}:{call.lineno}")
    return found


def test_every_event_stands_in_the_table_and_no_other(published: set[str]) -> None:
    text = (REPO / "docs/messages.md").read_text(encoding="utf-8")
    table = text.partition("| `kind` | says |\n|---|---|\n")[2].partition("\n\n")[0]
    listed = [kind for row in table.splitlines() for kind in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(listed) == len(set(listed))
    assert set(listed) == published


def test_nothing_else_publishes_events() -> None:
    direct = [
        path.name
        for path, call in calls()
        if getattr(call.func, "attr", "") == "tell"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value == "event"
    ]
    assert direct == ["herald.py"], "events go through Herald.announce, so that they are counted here"
