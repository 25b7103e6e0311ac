# SPDX-License-Identifier: Apache-2.0
"""What is measured: specs, settings, engines by key and by name; and the settings of the daemon that runs it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bench.bench_rig import SPEC, subject
from support.engines import write_model

from edged.bench.subject import Request, against, resolve, unique
from edged.bench.workload import flat_out, paced, settings_text
from edged.config import load
from edged.engine.cli import main as build
from edged.errors import EngineError, ModelError, UsageError

SECRET = "hunter2"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def config(tmp_path: Path, state: Path) -> Path:
    path = tmp_path / "edged.toml"
    path.write_text(
        f'[[sources]]\nname = "yard"\nuri = "rtsp://user:{SECRET}@camera.example/stream"\nfps = 5\n'
        '[[sources]]\nname = "drawn"\nuri = "synthetic://shapes?fps=20"\nmax_age_ms = 100\n'
        f'[daemon]\nstate_dir = "{state}"\n[model]\nspec = "{SPEC}"\n'
        '[engine]\nbackend = "onnxruntime"\nslots = 3\nmax_batch = 4\nio = "staged"\n'
    )
    return path


def test_a_spec_alone_has_defaults(state: Path) -> None:
    found = subject(state)
    assert (found.label, found.engine.backend, found.engine.precision) == ("shapes", "onnxruntime", "fp32")
    assert (found.own_sources, found.slots, found.limit, found.usual) == (False, 2, 8, 8)
    assert found.frame == found.prepared.input_size


def test_settings_give_model_engine_and_sources(config: Path) -> None:
    found = resolve(Request(None, config, ("--engine.slots=2",)), {"EDGED_ENGINE__IO": "copy"})
    assert (found.label, found.own_sources, found.slots, found.usual) == ("edged", True, 2, 4)
    assert found.settings.engine.io == "copy"


def test_nothing_to_measure_is_a_wrong_use() -> None:
    with pytest.raises(UsageError, match="what is to be measured"):
        resolve(Request(None, None), {})


def test_against_takes_files_keys_and_names(tmp_path: Path, config: Path) -> None:
    state, spec = tmp_path / "state", write_model(tmp_path)
    assert build([str(spec), "--backend", "onnxruntime", "--precision", "fp32", "--state-dir", str(state)]) == 0
    request = Request(spec, None, (f"--daemon.state_dir={state}", "--engine.backend=onnxruntime"))
    first = resolve(request, {})
    assert first.manifest is not None
    key = first.engine.key
    others = [against(text, request, first, {}) for text in (str(spec), str(config), "onnxruntime/fp32", key[:8])]
    assert [it.model.id for it in others] == ["tiny", "shapes", "tiny", "tiny"]
    assert others[3].engine.path == first.engine.path
    labels = unique([first, *others])
    assert labels[:1] == ["tiny"]
    assert len(set(labels)) == len(labels)
    with pytest.raises(EngineError, match="no engine's key begins with ffffffff"):
        against("ffffffff", request, first, {})
    with pytest.raises(UsageError, match="--against nonsense is no file, no key"):
        against("nonsense", request, first, {})
    with pytest.raises(EngineError, match="no int8 onnxruntime engine has been built"):
        against("onnxruntime/int8", request, first, {})
    with pytest.raises(ModelError):
        against(str(tmp_path / "tiny.onnx.missing.onnx"), request, first, {})


def test_the_daemon_runs_the_engine_that_was_measured(tmp_path: Path) -> None:
    state, spec = tmp_path / "state", write_model(tmp_path)
    assert build([str(spec), "--backend", "onnxruntime", "--state-dir", str(state)]) == 0
    found = resolve(Request(spec, None, (f"--daemon.state_dir={state}", "--engine.backend=onnxruntime")), {})
    # Meanwhile another one became current.
    (state / "engines" / "tiny" / "current.json").write_text('{"engines": {}, "schema": "edged.current/1"}')
    own = tmp_path / "own"
    own.mkdir()
    written = own / "edged.toml"
    written.write_text(settings_text(found, flat_out(found, ()), f"ipc://{own}/p.sock", own, 2))
    again = resolve(Request(None, written), {})
    assert (again.engine.key, again.engine.precision) == (found.engine.key, "fp32")
    assert os.path.realpath(again.engine.path) == os.path.realpath(found.engine.path)
    # Twice, as throughput and latency need it, into the same folder.
    settings_text(found, paced(found, (), 100.0), f"ipc://{own}/p.sock", own, None)
    shutil.rmtree(own)
    assert Path(found.engine.path).is_file()


def test_sources_are_made_fit_for_the_question(config: Path, tmp_path: Path) -> None:
    found = resolve(Request(None, config), {})
    fast = flat_out(found, ())
    assert [(it.mode, it.fps, it.loop) for it in fast.sources] == [("live", 5.0, False), ("lossless", None, True)]
    assert fast.notes == ("source yard is a camera: it gives its own rate and no more",)
    live = paced(found, (), 1000.0)
    assert [(it.mode, it.fps) for it in live.sources] == [("live", 5.0), ("live", None)]
    assert not any(SECRET in text for text in (*fast.shown, *live.shown))
    path = tmp_path / "run.toml"
    path.write_text(settings_text(found, fast, "tcp://127.0.0.1:5999", tmp_path, None))
    loaded = load(path, [], {}).settings
    assert loaded.sources == fast.sources
    assert (loaded.engine.slots, loaded.engine.io, loaded.engine.max_batch) == (3, "staged", None)
    assert loaded.publish.wait_for_subscribers == 1


def test_a_spec_alone_gets_pictures_of_the_models_size(state: Path) -> None:
    found = subject(state)
    height, width = found.frame
    for source in flat_out(found, ()).sources:
        assert f"size={width}x{height}" in source.uri.get_secret_value()
        assert source.mode == "lossless"
    (live,) = paced(found, (), 20.0).sources
    assert "fps=10&" in live.uri.get_secret_value()  # half the rate: the queue is not what is measured
    (asked,) = flat_out(found, ["synthetic://shapes?seed=7"]).sources
    assert asked.uri.get_secret_value() == "synthetic://shapes?seed=7"
