# SPDX-License-Identifier: Apache-2.0
"""The benchmarks that account for every frame: what they notice, and the cheapest of them, shortened."""

from __future__ import annotations

from pathlib import Path

import msgspec
from support.reports import read

from edged.messages import Dropped, Health, Prediction, SourceHealth
from tools.bench import many_sources
from tools.bench.account import Account
from tools.bench.overload import minute_of

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "messages"
PREDICTION = msgspec.json.decode((FIXTURES / "prediction-raw.json").read_bytes(), type=Prediction)
HEALTH = msgspec.json.decode((FIXTURES / "health.json").read_bytes(), type=Health)


def prediction(source: str, seq: int, age_ms: float = 1.0) -> Prediction:
    return msgspec.structs.replace(PREDICTION, source=source, seq=seq, frame_id=seq, age_ms=age_ms)


def health(captured: int, published: int, in_flight: int = 0, overwritten: int = 0) -> Health:
    source = msgspec.structs.replace(
        next(iter(HEALTH.sources.values())),
        captured=captured,
        published=published,
        in_flight=in_flight,
        dropped=Dropped(overwritten=overwritten),
    )
    assert isinstance(source, SourceHealth)
    return msgspec.structs.replace(HEALTH, sources={"a": source, "b": source})


def test_an_account_notices_what_comes_twice_or_out_of_order_and_frames_that_are_missing() -> None:
    account = Account()
    account.take([prediction("a", 1), prediction("b", 1), prediction("a", 2), health(5, 2, 1, 2)])
    account.take([prediction("a", 4)])
    assert account.wrong == []
    assert (account.counted["a"], account.missed["a"]) == (3, 1)
    account.take([prediction("a", 4)])
    assert account.wrong == ["a: frame 4, message 4 is out of order"]
    account.take([health(5, 2, 1, 1)])
    assert len(account.wrong) == 3  # both sources miss a frame
    account.take([health(5, 3, -1, 3)])
    assert len(account.wrong) == 5


def test_a_minute_is_summed_up_from_its_messages() -> None:
    messages = [prediction("ab"[number % 2], 1, float(number)) for number in range(6)]
    minute = minute_of([*messages, health(100, 60, 0, 40)], health(40, 20, 0, 20), 2.0, 0.5)
    assert (minute.published_hz, minute.age_ms[0], minute.age_ms[2]) == (3.0, 2.5, 5.0)
    assert (minute.captured, minute.overwritten, minute.stale) == (120, 40, 0)
    assert (minute.share, minute.growth_mb) == (1.0, 0.5)


def test_many_sources(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    assert many_sources.main(["--sources", "2", "--seconds", "1", "--output", str(output)]) == 0
    figures, details = read(output)
    assert figures["accounts that do not add up"] == 0, details["wrong"]
    assert figures["predictions counted"] > 10
    assert 0 < figures["outside decode and the model's graph: CPU of all stages"] < 5000
    assert all(rate > 0 for rate in details["rates_hz"])
