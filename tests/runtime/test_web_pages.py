# SPDX-License-Identifier: Apache-2.0
"""What HTTP answers, by what the supervisor showed and when."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.told import full_record

from edged.messages import Health
from edged.runtime.web_pages import STALE_S, Answer, Pages, Shown

PATHS = ("/livez", "/readyz", "/healthz", "/metrics")


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def body_of(state: str, reasons: list[str] | None = None) -> dict[str, Any]:
    """The body of a health message as the supervisor tells it."""
    health = msgspec.to_builtins(full_record().health)
    kept = {key: health[key] for key in ("sources", "engine")}
    return {"state": state, "reasons": reasons or [], **kept}


def statuses(pages: Pages) -> dict[str, int]:
    """Every page's status."""
    return {path: pages.answer(path).status for path in PATHS}


@pytest.fixture
def clock() -> Clock:
    """Time."""
    return Clock()


@pytest.fixture
def pages(clock: Clock) -> Pages:
    """Pages before anything was shown."""
    return Pages("gate-7", "boot-1", clock)


def shown(clock: Clock, state: str, *, serving: bool = True, reasons: list[str] | None = None) -> Shown:
    """What the supervisor shows."""
    return Shown(
        health=body_of(state, reasons), serving=serving, last_seq={"v1/health/": 7}, at=1790000000.5, shown_s=clock.now
    )


def test_before_the_start_is_over_it_lives_and_is_not_ready(pages: Pages, clock: Clock) -> None:
    clock.now += 60  # loading may take long
    pages.beat()
    assert statuses(pages) == {"/livez": 200, "/readyz": 503, "/healthz": 200, "/metrics": 200}
    assert pages.answer("/readyz").body == b"starting\n"
    assert b'edged_state{state="starting"} 1.0' in pages.answer("/metrics").body


@pytest.mark.parametrize(
    ("state", "serving", "status"),
    [
        ("starting", True, 503),
        ("ready", True, 200),
        ("degraded", True, 200),  # a camera that is down
        ("degraded", False, 503),  # infer or publish is being replaced
        ("stopping", True, 503),
    ],
)
def test_ready_means_that_frames_would_be_served(
    pages: Pages, clock: Clock, state: str, serving: bool, status: int
) -> None:
    pages.show(shown(clock, state, serving=serving, reasons=["source north backoff: no answer"]))
    assert pages.answer("/readyz").status == status
    assert pages.answer("/readyz").body.decode() == f"{state}\nsource north backoff: no answer\n"
    assert pages.answer("/livez").status == 200


def test_a_supervisor_that_is_stuck_is_told_from_one_that_lacks_figures(pages: Pages, clock: Clock) -> None:
    pages.show(shown(clock, "ready"))
    clock.now += STALE_S - 0.1
    assert set(statuses(pages).values()) == {200}
    clock.now += 0.2
    assert set(statuses(pages).values()) == {503}
    assert pages.answer("/livez").body == b"the supervisor has not turned for 5 s\n"
    pages.beat()  # it turns again, but a lock keeps it from its figures
    assert statuses(pages) == {"/livez": 200, "/readyz": 503, "/healthz": 503, "/metrics": 503}
    assert pages.answer("/metrics").body == b"nothing new for 5 s\n"
    pages.show(shown(clock, "ready"))
    assert set(statuses(pages).values()) == {200}


def test_stopping_is_told_at_once(pages: Pages, clock: Clock) -> None:
    pages.show(shown(clock, "ready"))
    pages.stopping()
    assert pages.answer("/readyz") == Answer(503, "text/plain; charset=utf-8", b"stopping\n")
    assert pages.answer("/healthz").status == 200


def test_healthz_is_the_message(pages: Pages, clock: Clock) -> None:
    pages.show(shown(clock, "ready"))
    answer = pages.answer("/healthz?pretty")
    assert answer.content_type == "application/json"
    health = msgspec.json.decode(answer.body, type=Health)
    assert (health.device, health.boot, health.seq, health.at) == ("gate-7", "boot-1", 7, 1790000000.5)
    assert health.sources == full_record().health.sources
    assert health.engine == full_record().health.engine


def test_metrics_are_made_once_for_each_second_and_format(pages: Pages, clock: Clock) -> None:
    pages.show(shown(clock, "ready"))
    first = pages.answer("/metrics")
    assert pages.answer("/metrics") is first
    assert pages.answer("/metrics", "application/openmetrics-text").content_type != first.content_type
    pages.show(shown(clock, "ready"))
    assert pages.answer("/metrics") is not first


@pytest.mark.parametrize("path", ["/nothing", "", "*", "/metrics/", "//metrics", "/../livez", "/livez%00"])
def test_other_paths_are_not_there(pages: Pages, path: str) -> None:
    assert pages.answer(path).status == 404


def test_the_front_page_says_where_to_go(pages: Pages) -> None:
    assert all(path in pages.answer("/").body.decode() for path in PATHS)
