# SPDX-License-Identifier: Apache-2.0
"""On a real GPU: results are right, each belongs to its frame, nothing leaks, and what is broken is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.gpu.broken import broken, injected
from tools.gpu.daemon import live, same
from tools.gpu.rig import Host
from tools.gpu.right import numbers, shapes

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(400)]


def test_detections_equal_those_of_onnx_runtime(built: Path) -> None:
    with Host(built) as host:
        found = shapes(host)
    assert found["ok"], found
    assert host.leaks == ()


@pytest.mark.parametrize("io", ["auto", "staged"])
@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize("graphs", [True, False])
def test_no_result_belongs_to_another_frame(built: Path, slots: int, graphs: bool, io: str) -> None:
    with Host(built) as host:
        found = numbers(host, slots, graphs, 1000, io)
    assert found["ok"], found
    assert host.leaks == ()


def test_what_is_broken_is_said(built: Path) -> None:
    found = broken(built, skip=("no-memory",))
    assert all(case["ok"] for case in found.values()), found


def test_an_error_in_any_call_is_said_and_leaves_nothing(built: Path) -> None:
    found = injected(built)
    assert all(phase["ok"] for phase in found.values()), found


def test_the_daemon_publishes_live_sources(built: Path) -> None:
    found = live(built)
    assert found["ok"], found


def test_the_daemon_detects_what_onnx_runtime_does(built: Path) -> None:
    found = same(built)
    assert found["ok"], found
