# SPDX-License-Identifier: Apache-2.0
"""The long run, made short: it sees what it should, and complains where it must."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.reports import read

from edged.messages import Health, SourceHealth
from edged.stages.publish.client import Received
from tools.soak.__main__ import main
from tools.soak.readings import Holding, trends
from tools.soak.tally import Tally


def health(seq: int, captured: int, published: int, last: int) -> Received:
    """A health message of one source."""
    source = SourceHealth(state="live", captured=captured, published=published)
    message = Health(
        device="box",
        boot="b",
        seq=seq,
        at=0.0,
        state="ready",
        sources={"north": source},
        last_seq={"v1/predictions/north/": last},
    )
    return Received("v1/health/", message, (), b"")


def test_a_short_run_holds_and_is_shown(tmp_path: Path) -> None:
    page, output = tmp_path / "soak.html", tmp_path / "soak.json"
    words = ["--minutes", "0.12", "--reload-s", "1.5", "--page", str(page), "--output", str(output)]
    assert main(words) == 0
    figures, details = read(output)
    assert details["wrong"] == []
    assert figures["reloads"] >= 2
    assert figures["visits of subscribers"] >= 1
    assert figures["predictions"] > 20
    text = page.read_text()
    assert text.count("<img") == 4
    assert "Everything held." in text


def test_frames_that_are_missing_are_complained_of() -> None:
    tally = Tally({})
    tally.take(health(1, captured=5, published=4, last=4))
    tally.close()
    assert len(tally.complaints) == 2
    assert "not conserved" in tally.complaints[0]
    assert "0 arrived or known lost, 4 published" in tally.complaints[1]


def test_growth_and_changed_counts_show() -> None:
    grown = [Holding(60.0 * minute, "infer", 7, 50.0 + minute / 30, 20 + (minute == 9), 3, 1.0) for minute in range(10)]
    guest = [each._replace(name="capture:guest") for each in grown]
    (found,) = trends([*grown, *guest], warm_up_s=120.0, guests=["capture:guest"])
    assert found.slope_mb_per_h == pytest.approx(2.0)
    assert (found.descriptors, found.constant) == ((20, 21), False)
