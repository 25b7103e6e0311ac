# SPDX-License-Identifier: Apache-2.0
"""Ranges around stages: nothing at all when off, balanced when on, and a clear word where the package is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edged.errors import SettingsError
from edged.ranges import Ranges, check_available


class Worker:
    """Something with stages."""

    def work(self, count: int) -> int:
        return self.step(count) + 1

    def step(self, count: int) -> int:
        if count < 0:
            raise ValueError("below zero")
        return count


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which this process's ranges end up."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "support" / "fake_nvtx"))
    monkeypatch.setenv("FAKE_NVTX_FOLDER", str(tmp_path))
    monkeypatch.delitem(sys.modules, "nvtx", raising=False)
    return tmp_path / str(os.getpid())


def test_off_means_nothing_is_there() -> None:
    ranges, worker = Ranges(False), Worker()
    assert ranges.around("decode", len) is len
    ranges.cover(worker, {"work": "submit", "step": "deliver"})
    assert vars(worker) == {}


def test_ranges_nest_and_end_whatever_happens(noted: Path) -> None:
    ranges, worker = Ranges(True), Worker()
    ranges.cover(worker, {"work": "submit", "step": "deliver"})
    assert worker.work(3) == 4
    with pytest.raises(ValueError, match="below zero"):
        worker.work(-1)
    once = ["edged begin submit orange", "edged begin deliver green", "edged end", "edged end"]
    assert noted.read_text().splitlines() == once * 2
    assert Worker().work(1) == 2
    assert len(noted.read_text().splitlines()) == 8


def test_a_method_that_is_not_there_is_a_bug(noted: Path) -> None:
    with pytest.raises(AttributeError):
        Ranges(True).cover(Worker(), {"rest": "submit"})


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)
    for attempt in (check_available, lambda: Ranges(True)):
        with pytest.raises(SettingsError, match="the nvtx package is not installed") as caught:
            attempt()
        assert "pip install 'edged[profile]'" in str(caught.value)
        assert caught.value.exit_code == 78
