# SPDX-License-Identifier: Apache-2.0
"""``monitor.verify_every``: a real daemon tells how far what it publishes agrees with the FP32 reference."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from support.daemon import ASSETS, Daemon
from support.engines import manifest
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch

from edged.engine.key import EngineKey
from edged.engine.shelf import Content, hold
from edged.graph.prepare import FOLDER, prepare
from edged.messages_stats import Verified
from edged.model_file import load_spec

EVERY = 5
# At idle priority there is next to no time while other things run on the machine.
PATIENCE_S = 90.0


def verified(watch: Watch) -> Verified | None:
    """What the newest statistics say."""
    found = watch.stats[-1].verified if watch.stats else None
    return found if isinstance(found, Verified) else None


def until_looked_at(watch: Watch, frames: int, timeout_s: float = PATIENCE_S) -> Verified:
    def enough() -> bool:
        found = verified(watch)
        return found is not None and found.frames >= frames

    watch.until(enough, timeout_s, f"{frames} frames looked at")
    found = verified(watch)
    assert found is not None
    return found


def store_disturbed(daemon: Daemon, factor: float, bound: float | None = None) -> str:
    """Store an engine for the demo's model whose last convolutions count for less; returns its key."""
    state = daemon.folder / "state"
    (state / FOLDER).mkdir(parents=True)
    prepared = prepare(load_spec(ASSETS / "shapes.toml"), state / FOLDER)
    graph = onnx.load(prepared.path)
    weights = [tensor for tensor in graph.graph.initializer if len(tensor.dims) == 4]
    for tensor in weights[-3:]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))
    content = graph.SerializeToString()
    # The key as a build on this machine makes it.
    runtime = f"onnxruntime {onnxruntime.__version__}"
    key = EngineKey(model=prepared.digest, precision="int8", backend="onnxruntime", runtime=runtime)
    extra = {"model_id": "shapes", "max_batch": None, "agreement_bound": bound, "fields": key, "key": key.digest()}
    made = manifest(content, backend="onnxruntime", extra=extra)
    with hold(state, "shapes") as shelf:
        shelf.put(made, Content(content))
        shelf.make_current(made, chosen=True)
    return made.key


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_the_reference_agrees_with_itself(daemons: StartDaemon, isolation: str) -> None:
    daemon = daemons({"daemon": {"isolation": isolation}}, ["--monitor.verify_every", str(EVERY)]).start()
    with Watch(daemon) as watch:
        found = until_looked_at(watch, 20)
        assert found.last_100 is not None
        assert found.last_100.mean == pytest.approx(100, abs=0.1)
        assert found.last_100.worst == pytest.approx(100, abs=0.1)
        assert (found.every, found.below, found.bound) == (EVERY, False, 95.0)
        # Of the frames of either source at most one in five was due.
        captured = sum(source.captured for source in watch.until_health().sources.values())
        assert found.frames <= captured / EVERY + 2
        assert watch.stats[-1].processes["verify"].stages["reference"].count >= 20
        assert daemon.stop().code == 0
    assert daemon.output.count("is the FP32 reference itself") == 1
    assert "no effect" not in daemon.output
    assert_ended_clean(daemon)


def test_it_looks_at_lossless_frames_in_batches_and_ends_with_them(daemons: StartDaemon) -> None:
    # Rates that drift past one another: again and again frames of both come while the device is busy, and go together.
    rates = {"one": 30, "two": 37}
    uris = {name: f"synthetic://shapes?seed=3&frames={5 * fps}" for name, fps in rates.items()}
    settings = {
        "sources": [{"name": name, "uri": uris[name], "mode": "lossless", "fps": fps} for name, fps in rates.items()],
        "engine": {"max_batch": 4, "max_delay_ms": 50.0},
        "monitor": {"verify_every": 3},
        "publish": {"wait_for_subscribers": 1},
    }
    daemon = daemons(settings, ["--exit-when-done"]).start()
    with Watch(daemon) as watch:
        # The films have an end: on a busy machine only the last of their frames find it loaded.
        found = until_looked_at(watch, 3)
        watch.until(lambda: watch.stopping)
    assert daemon.wait(10) == 0
    assert [watch.ids(name) for name in rates] == [list(range(5 * fps)) for fps in rates.values()]
    assert max(message.batch for message in watch.predictions["one"]) > 1
    assert found.last_1000 is not None
    assert found.last_1000.mean == pytest.approx(100, abs=0.1)
    assert found.unpublished == 0
    assert_ended_clean(daemon)


def test_without_the_setting_there_is_no_such_process(daemons: StartDaemon) -> None:
    daemon = daemons().start()
    with Watch(daemon) as watch:
        watch.until(lambda: bool(watch.stats))
        assert verified(watch) is None
        assert daemon.children("verify") == []


def test_a_worse_engine_is_told_of_once(daemons: StartDaemon) -> None:
    daemon = daemons({"monitor": {"verify_every": 3}})
    key = store_disturbed(daemon, 0.5)
    daemon.start()
    with Watch(daemon) as watch:
        watch.until(lambda: any(event.kind == "accuracy" for event in watch.events), PATIENCE_S, "event")
        found = until_looked_at(watch, 80)
        assert watch.predictions["north"][-1].model.engine == key
    assert found.below
    assert found.last_100 is not None
    assert found.last_100.mean < found.bound == 95.0
    (event,) = [event for event in watch.events if event.kind == "accuracy"]
    assert event.severity == "warning"
    assert event.data["frames"] == 50
    assert event.data["mean"] < event.data["bound"] == 95.0  # type: ignore[operator]
    assert daemon.output.count("below the bound") == 1


def test_the_bound_of_the_build_decides(daemons: StartDaemon) -> None:
    daemon = daemons({"monitor": {"verify_every": 3}})
    store_disturbed(daemon, 0.5, bound=0.0)
    daemon.start()
    with Watch(daemon) as watch:
        found = until_looked_at(watch, 10)
    assert (found.bound, found.below) == (0.0, False)
    assert [event for event in watch.events if event.kind == "accuracy"] == []
