# SPDX-License-Identifier: Apache-2.0
"""A certain engine of the store, as the governor asks for it, and what runs until one is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engines import write_model
from support.swapping import store_engine

from edged.errors import EngineError
from edged.graph.prepare import FOLDER, prepare
from edged.model_file import load_spec
from edged.runtime.choose import choose_for_now, choose_key, meanwhile
from edged.runtime.plans import EngineWish

WISH = EngineWish(backend="onnxruntime", precision="auto", device=0, max_batch=1)


def test_a_key_is_taken_if_it_is_valid_here(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model")
    first = store_engine(tmp_path, spec, name="first")
    second = store_engine(tmp_path, spec, name="second")
    prepared = prepare(load_spec(spec), tmp_path / FOLDER)
    for key in (first, second):
        assert choose_key(key, WISH, prepared, tmp_path, spec).key == key
    with pytest.raises(EngineError, match="not there"):
        choose_key("0" * 64, WISH, prepared, tmp_path, spec)
    other = prepare(load_spec(write_model(tmp_path / "other", operator="Sigmoid")), tmp_path / FOLDER)
    with pytest.raises(EngineError, match="not valid here"):
        choose_key(first, WISH, other, tmp_path, spec)


def test_what_comes_closest_serves_until_the_engine_is_built(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model", quantized=True)
    prepared = prepare(load_spec(spec), tmp_path / FOLDER)
    wish = EngineWish(backend="onnxruntime", precision="int8", device=0, max_batch=1)
    bare = choose_for_now(wish, prepared, tmp_path, spec)
    assert (bare.engine.path, bare.backend) == (prepared.path, "onnxruntime")
    assert bare.what.startswith("no int8 onnxruntime engine has been built")
    assert meanwhile(wish, prepared, tmp_path, spec).note == f"edged run builds while it serves: {bare.what}"
    assert choose_for_now(WISH, prepared, tmp_path, spec).what == ""
