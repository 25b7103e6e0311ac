# SPDX-License-Identifier: Apache-2.0
"""What the log says while an engine is built before the start."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from edged.runtime.build_first import BuildReport


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, log = Lines(), logging.getLogger("edged")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


def test_each_phase_is_told_once_and_a_long_one_again_every_ten_seconds(lines: Lines) -> None:
    now = 100.0
    report = BuildReport(lambda: now)
    report.tick()
    report.phase("preparing the model")
    report.phase("building")
    for _ in range(200):
        now += 0.125
        report.tick()
    report.step("Tactics", 12, 200)
    now += 5.5
    report.tick()
    report.step("Tactics", 200, 0)
    report.phase("storing")
    assert lines.texts == [
        "starting, 0.0 s: preparing the model",
        "starting, 0.0 s: building",
        "starting, 10.0 s: building",
        "starting, 20.0 s: building",
        "starting, 30.5 s: building (Tactics, 12 of 200)",
        "starting, 30.5 s: storing",
    ]
