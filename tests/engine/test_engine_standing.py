# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon finds its engine before one is built for it, on a TensorRT that is none and on ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.engines import FACTS, FakeToolkit, Heard, request, write_model

from edged.engine.build import build
from edged.engine.key import DeviceFacts
from edged.engine.protocol import BuildRequest, Note, Serving
from edged.engine.standing import standing
from edged.engine.trt_workshop import TrtWorkshop
from edged.errors import DeviceUnavailableError, ModelError


def look(asked: BuildRequest, facts: DeviceFacts | None = FACTS, max_batch: int | None = None) -> tuple[Any, list[str]]:
    heard = Heard()
    found = standing(asked, Serving(max_batch=max_batch), heard, lambda _backend, _device: facts)
    return found, [note.text for note in heard.of(Note)]


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_an_engine_for_tensorrt_is_built_once_and_again_when_it_no_longer_fits(tmp_path: Path, backend: str) -> None:
    asked = request(write_model(tmp_path / "models"), tmp_path, backend=backend)
    found, notes = look(asked)
    assert found is None
    assert notes == ["no tensorrt engine has been built for model tiny"]
    done = build(asked, Heard(), lambda _: TrtWorkshop(FakeToolkit()))
    found, notes = look(asked, max_batch=8)
    assert (found.key, found.folder, found.built) == (done.key, done.folder, False)
    assert notes == []
    for facts, max_batch, words in (
        (msgspec.structs.replace(FACTS, driver="13.0"), None, "driver's CUDA version: built for 12.6, here 13.0"),
        (FACTS, 16, "largest batch: built for 8, here 16"),
    ):
        found, (note,) = look(asked, facts, max_batch)
        assert found is None
        assert words in note
    (Path(done.folder) / "engine.plan").write_bytes(b"cut")
    found, (note,) = look(asked)
    assert found is None
    assert "3 bytes instead of" in note


def test_another_engine_that_fits_is_as_good(tmp_path: Path) -> None:
    asked = request(write_model(tmp_path / "models"), tmp_path)
    other = msgspec.structs.replace(asked, max_batch=32, optimization_level=1)
    done = build(other, Heard(), lambda _: TrtWorkshop(FakeToolkit()))
    found, _ = look(asked, max_batch=4)
    assert found.key == done.key


def test_onnx_runtime_takes_the_prepared_graph_where_that_is_what_was_asked_for(tmp_path: Path) -> None:
    asked = request(write_model(tmp_path / "models", quantized=True), tmp_path, backend="onnxruntime")
    found, notes = look(asked, None)
    assert (found.key, found.folder, found.built, notes) == ("", "", False, [])
    found, (note,) = look(msgspec.structs.replace(asked, precision="int8"), None)
    assert found is None
    assert note == "no int8 onnxruntime engine has been built for model tiny"


def test_what_cannot_be_read_or_is_not_here_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        look(request(tmp_path / "none.toml", tmp_path))
    with pytest.raises(DeviceUnavailableError):
        look(request(write_model(tmp_path / "models"), tmp_path, backend="tensorrt"), None)


def test_looking_loads_nothing_heavy() -> None:
    code = "import edged.engine.standing, edged.runtime.build_first, sys; print([*sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("onnx", "onnxruntime", "tensorrt", "cuda.bindings", "cv2", "torch"):
        assert f"'{heavy}'" not in loaded
