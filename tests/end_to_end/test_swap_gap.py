# SPDX-License-Identifier: Apache-2.0
"""Two engines that memory does not hold side by side: the old one ends first, and the new one serves after a gap."""

from __future__ import annotations

import resource
import time
from typing import Any

import psutil
from support.daemon import ASSETS, wait_until
from support.fixtures import StartDaemon
from support.swapping import store_engine
from support.watch import Watch

SPEC = ASSETS / "shapes.toml"
FILM = {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 60}
SOURCES: list[dict[str, Any]] = [{"name": "camera", "uri": "synthetic://shapes?seed=1"}, FILM]
HEAVY = 400 << 20
ROOM = 120 << 20


def test_where_memory_does_not_hold_both_the_new_engine_serves_after_a_gap(daemons: StartDaemon) -> None:
    daemon = daemons({"sources": SOURCES}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["camera", "film"], 0, 20)
        (old,) = daemon.children("infer")
        first = watch.predictions["film"][-1].model
        most = psutil.Process(old).memory_info().vms + ROOM
        heavy = store_engine(daemon.folder / "state", SPEC, name="heavy", heavy=HEAVY)

        # The process that tries it beside the old one gets no more than a small machine would have left for it.
        wait_until(lambda: len(daemon.children("infer")) == 2, 10, "second infer process")
        (beside,) = set(daemon.children("infer")) - {old}
        resource.prlimit(beside, resource.RLIMIT_AS, (most, most))

        watch.until(lambda: any(event.kind == "engine-swapped" for event in watch.events), 30, "swap")
        told = [event for event in watch.events if event.kind.startswith("engine-")]
        assert [event.kind for event in told] == ["engine-swap-gap", "engine-swapped"]
        assert told[-1].data["engine"] == heavy
        assert 0 < float(told[-1].data["gap_ms"]) < 15_000
        watch.wait_for_all(["camera", "film"], time.monotonic(), 10)
        (new,) = daemon.children("infer")
        assert new not in (old, beside)

        # Frames waited or were dropped and counted, and none came twice: first of the old engine, then of the new one.
        for source in ("camera", "film"):
            keys = [message.model.engine for message in watch.predictions[source]]
            assert keys == sorted(keys, key=[first.engine, heavy].index)
            assert heavy in keys
        watch.until_health(lambda health: health.engine is not None and health.engine.engine == heavy)
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for source in watch.predictions:
            watch.assert_accounted(source)
            assert watch.lost(source) == 0
            assert watch.health.sources[source].dropped.failed == 0
        assert watch.ids("film") == list(range(watch.ids("film")[0], watch.ids("film")[-1] + 1))
    assert daemon.children() == []
