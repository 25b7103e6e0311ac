# SPDX-License-Identifier: Apache-2.0
"""The GPU check of engine swaps: what its figures are made of, and a short run of it on the accounting GPU."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.census import Census
from support.engines import manifest

from edged.engine.shelf import Content, hold
from edged.engine.store import model_folder, read_current, read_engine, verify
from edged.errors import EngineError
from edged.messages import Dropped, FrameSize, ModelRef, Prediction, Timing
from edged.model_file import load_spec
from tools.bench.swap_seen import gaps, longest_ms, pauses
from tools.gpu import building, pins, swap_store
from tools.gpu.rig import SHAPES
from tools.gpu.spoiled import SPOILED, export_spoiled
from tools.gpu.swap_faults import killed_beside
from tools.gpu.swap_rig import BASE, Load, Reading, Rig, differences, leased
from tools.gpu.swap_sources import guests
from tools.gpu.swap_turns import accounts, missing, turns


def prediction(seq: int, at_ms: float, engine: str, frame_id: int | None = None) -> Prediction:
    return Prediction(
        device="d",
        boot="b",
        seq=seq,
        at=0.0,
        source="north",
        frame_id=seq if frame_id is None else frame_id,
        captured_at=0.0,
        captured_monotonic_ns=int(at_ms * 1e6) - 5_000_000,
        age_ms=5.0,
        timing_ms=Timing(wait=0.0, copy=0.5, infer=1.5, postprocess=0.0),
        batch=1,
        dropped=Dropped(),
        frame=FrameSize(width=4, height=3),
        model=ModelRef(id="m", engine=engine, backend="tensorrt", precision="fp32"),
        task="raw",
    )


def test_pauses_gaps_and_turns_are_found() -> None:
    seen = [prediction(1, 10, "a"), prediction(2, 20, "a"), prediction(3, 32, "b"), prediction(4, 47, "b", 6)]
    found = pauses(seen, "b")
    assert found == pytest.approx((2.0, 12.0, 15.0))
    assert longest_ms(seen[:1]) == 0.0
    assert (gaps(seen), missing(seen), turns(seen)) == (0, 2, ["a", "b"])
    assert gaps([seen[0], seen[0], seen[3]]) == 3
    assert turns([seen[0], seen[2], seen[1]]) == ["a", "b", "a"]


def test_what_is_left_behind_is_named() -> None:
    census = Census({"infer": 1}, {"infer": 9}, {"supervisor": 40}, 7, 0, 0)
    first = Reading(100.0, census, {}, (6, 4096))
    assert not differences(first, first._replace(census=census._replace(threads={"infer": 8})))
    assert len(differences(first, first._replace(pinned=(7, 8192), census=census._replace(memory_files=8)))) == 2
    assert leased(first).census.descriptors == {"supervisor": 41}


def test_page_locked_memory_is_counted_by_the_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pins.VARIABLE, str(tmp_path))
    calls: Counter[str] = Counter()

    def register(address: int, _size: int, _flags: int) -> tuple[int]:
        calls["register"] += 1
        return (1 if address == 3 else 0,)

    real = SimpleNamespace(cuMemHostRegister=register, cuMemHostUnregister=lambda _: (0,), cuInit=lambda _: (0,))
    driver, log = pins.CountedDriver(real), tmp_path / str(os.getpid())
    assert pins.locked(log) == {}
    assert driver.cuInit is real.cuInit
    assert [driver.cuMemHostRegister(at, 4096, 1)[0] for at in (1, 2, 3)] == [0, 0, 1]
    driver.cuMemHostUnregister(2)
    assert pins.locked(log) == {1: 4096}
    driver.cuMemHostUnregister(7)
    with pytest.raises(ValueError, match="7"):
        pins.locked(log)


def test_the_spoiled_model_is_the_demo_with_other_weights(tmp_path: Path) -> None:
    export_spoiled(tmp_path)
    spec = load_spec(tmp_path / f"{SPOILED}.toml")
    assert spec.id == SPOILED
    pair = [onnx.load(path).graph.initializer for path in (SHAPES.with_suffix(".onnx"), tmp_path / f"{SPOILED}.onnx")]
    ours, theirs = ([numpy_helper.to_array(each) for each in weights] for weights in pair)
    other = [index for index, both in enumerate(zip(ours, theirs, strict=True)) if not np.array_equal(*both)]
    assert len(other) == 1
    assert np.array_equal(ours[other[0]], -theirs[other[0]])


def test_the_store_of_the_gpu_holds_good_engines_and_bad_ones(tmp_path: Path) -> None:
    assert swap_store.NEEDED.items() <= {name: given[:2] for name, given in building.ENGINES.items()}.items()
    for number, (model, precision) in enumerate(swap_store.NEEDED.values()):
        assert swap_store.built(tmp_path, model, precision) is None
        content = bytes([number]) * 3000
        made = manifest(content, precision=precision, model=f"{number}" * 64, extra={"model_id": model})
        with hold(tmp_path / "state", model) as shelf:
            shelf.put(made, Content(content))
            shelf.make_current(made, chosen=True)
    state = tmp_path / "own"
    engines = swap_store.tensorrt_store(tmp_path, state)
    folder = model_folder(state, swap_store.MODEL)
    assert read_current(folder).engines["tensorrt/auto"] == engines.first
    found = {name: read_engine(folder, wrong.key) for name, wrong in engines.wrong.items()}
    for good in (read_engine(folder, engines.first), read_engine(folder, engines.second), *list(found.values())[:2]):
        verify(good)
    assert swap_store.manifest_of(state, engines.second).fields.precision == "fp16"
    assert found["other-weights"].path.read_bytes() == bytes([2]) * 3000
    assert found["half-a-plan"].manifest.size == 1500
    with pytest.raises(EngineError, match=engines.wrong["cut-in-the-store"].words):
        verify(found["cut-in-the-store"])


def test_sources_come_and_go_and_a_candidate_is_killed_on_the_accounting_gpu(tmp_path: Path) -> None:
    with Rig(tmp_path, "fake", Load(5, 20)) as rig:
        rig.watch.wait_for_all(BASE, 0, 20)
        for row in (guests(rig, 1, 0.1), killed_beside(rig, "loading"), accounts(rig)):
            assert row["ok"], row
