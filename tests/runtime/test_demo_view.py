# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest
from rich.console import Console

from edged.runtime.demo_view import DemoView

ALL = ["source", "frame", "published", "rate", "age p50", "dropped", "latest prediction"]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (120, ALL),
        (90, ALL),
        (66, ["source", "published", "rate", "age p50", ALL[-1]]),
        (40, ["source", "rate", ALL[-1]]),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns(width: int, columns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table = DemoView("ipc://nowhere", {"north": 1}, since_s=0.0).table()
    assert [column.header for column in table.columns] == columns
    shown = io.StringIO()
    Console(file=shown, width=width).print(table)
    for text in (*columns, "north", "waiting for"):
        assert text in shown.getvalue()
