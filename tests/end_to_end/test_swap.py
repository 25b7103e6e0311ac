# SPDX-License-Identifier: Apache-2.0
"""Another engine takes over under load: nothing is lost or sent twice; one that is no good changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from support.daemon import ASSETS, START_S, Daemon, wait_until
from support.engines import write_model
from support.fixtures import StartDaemon
from support.swapping import store_engine
from support.traces import assert_ended_clean
from support.watch import Watch

from edged.messages import Event, ModelRef

SPEC = ASSETS / "shapes.toml"
FILM = {"name": "film", "uri": "synthetic://shapes?seed=2", "mode": "lossless", "fps": 60}
SOURCES: list[dict[str, Any]] = [{"name": "camera", "uri": "synthetic://shapes?seed=1"}, FILM]


class Served(NamedTuple):
    """A daemon whose first engine serves all sources.

    Attributes:
        daemon: that runs.
        watch: what it publishes.
        first: its engine.
        infer: id of the process that runs the engine.
    """

    daemon: Daemon
    watch: Watch
    first: ModelRef
    infer: int


@contextmanager
def serving(daemons: StartDaemon) -> Iterator[Served]:
    """Start a daemon and watch it."""
    daemon = daemons({"sources": SOURCES}).start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["camera", "film"], 0, 20)
        (infer,) = daemon.children("infer")
        yield Served(daemon, watch, watch.predictions["film"][-1].model, infer)


def swap_event(watch: Watch, kind: str, timeout_s: float = 20.0) -> Event:
    """Wait for an event of a swap."""

    def found() -> list[Event]:
        return [event for event in watch.events if event.kind.startswith("engine-")]

    watch.until(lambda: bool(found()) and found()[-1].kind == kind, timeout_s, f"event {kind}")
    return found()[-1]


def engines_of(watch: Watch, source: str) -> list[str]:
    """Keys in the order in which they came, each once."""
    keys = [message.model.engine for message in watch.predictions[source]]
    return [keys[0], *(after for before, after in pairwise(keys) if before != after)]


def assert_nothing_lost(daemon: Daemon, watch: Watch) -> None:
    assert daemon.stop().code == 0
    watch.until(lambda: watch.stopping)
    for source in watch.predictions:
        watch.assert_accounted(source)
        assert watch.lost(source) == 0
        assert watch.health.sources[source].dropped.failed == 0
    # Watch has seen to it that numbers rise; a film loses nothing, so they are all there.
    assert watch.ids("film") == list(range(watch.ids("film")[0], watch.ids("film")[-1] + 1))


def test_good_engines_take_over_and_others_do_not(daemons: StartDaemon) -> None:
    with serving(daemons) as (daemon, watch, first, old):
        state = daemon.folder / "state"
        assert (first.backend, first.precision) == ("onnxruntime", "fp32")
        spoiled = store_engine(state, SPEC, spoiled=True)
        event = swap_event(watch, "engine-swap-failed")
        assert event.data["engine"] == spoiled
        assert "does not agree" in event.text
        broken = store_engine(state, SPEC, name="broken", broken=True)
        watch.events.clear()
        event = swap_event(watch, "engine-swap-failed")
        assert event.data["engine"] == broken
        assert "does not take the model" in event.text
        good = store_engine(state, SPEC, name="good")
        event = swap_event(watch, "engine-swapped")
        assert (event.data["engine"], event.data["points"]) == (good, 100.0)
        watch.wait_for_all(["camera", "film"], time.monotonic(), 5)
        # Each prediction tells whose it is, and the engines do not take turns.
        assert engines_of(watch, "film") == engines_of(watch, "camera") == [first.engine, good]
        watch.until_health(lambda health: health.engine is not None and health.engine.engine == good)
        # The old one stands by for a while, then it is gone.
        wait_until(lambda: len(daemon.children("infer")) == 1, 10, "end of the old infer process")
        assert daemon.children("infer") != [old]
        watch.wait_for_all(["camera", "film"], time.monotonic(), 5)
        assert_nothing_lost(daemon, watch)
    assert_ended_clean(daemon)


def test_an_engine_that_fails_soon_after_gives_way_to_the_old_one(daemons: StartDaemon) -> None:
    with serving(daemons) as (daemon, watch, first, old):
        good = store_engine(daemon.folder / "state", SPEC)
        swap_event(watch, "engine-swapped")
        watch.wait_for_all(["camera", "film"], time.monotonic(), 5)
        (new,) = set(daemon.children("infer")) - {old}
        os.kill(new, signal.SIGKILL)
        killed_s = time.monotonic()
        swap_event(watch, "engine-rolled-back")
        watch.wait_for_all(["camera", "film"], killed_s + 0.2, 5)
        # It had not gone away, so there was nothing to load.
        assert daemon.children("infer") == [old]
        assert engines_of(watch, "film") == [first.engine, good, first.engine]
        assert daemon.stop().code == 0
        watch.until(lambda: watch.stopping)
        for source in ("camera", "film"):
            watch.assert_accounted(source)
            assert watch.health.sources[source].dropped.failed <= 2
    assert_ended_clean(daemon)


def test_without_memory_for_two_there_is_a_gap_that_is_told(daemons: StartDaemon) -> None:
    with serving(daemons) as (daemon, watch, first, old):
        huge = store_engine(daemon.folder / "state", SPEC, name="huge", huge=True)
        # There is no memory for it alone either, so the old engine comes back.
        event = swap_event(watch, "engine-rolled-back")
        assert event.data["engine"] == huge
        assert [event.kind for event in watch.events if "swap" in event.kind] == ["engine-swap-gap"]
        watch.wait_for_all(["camera", "film"], time.monotonic(), 10)
        assert old not in daemon.children("infer")
        assert engines_of(watch, "film") == [first.engine]
        assert_nothing_lost(daemon, watch)
    # ONNX Runtime itself complains about the memory, so what is on stderr is not only ours.
    assert daemon.children() == []


def test_frames_are_served_while_the_engine_is_built(daemons: StartDaemon, tmp_path: Path) -> None:
    engine = {"backend": "onnxruntime", "precision": "int8", "build": "serve-while-building", "max_batch": 1}
    spec = write_model(tmp_path / "models", quantized=True)
    daemon = daemons({"sources": SOURCES, "model": {"spec": str(spec)}, "engine": engine})
    begin_s = time.monotonic()
    daemon.start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["film"], 0, 20)
        assert time.monotonic() - begin_s < START_S
        first = watch.predictions["film"][0].model
        assert first.precision == "fp32"
        event = swap_event(watch, "engine-swapped", 40)
        watch.wait_for_all(["camera", "film"], time.monotonic(), 5)
        assert engines_of(watch, "film") == [first.engine, str(event.data["engine"])]
        assert watch.predictions["film"][-1].model.precision == "int8"
        assert_nothing_lost(daemon, watch)
    assert "an engine is built while frames are served: no int8 onnxruntime engine has been built" in daemon.output
    assert "building, " in daemon.output
    assert_ended_clean(daemon)
