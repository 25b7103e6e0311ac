# SPDX-License-Identifier: Apache-2.0
"""Engines for models with operators of the user's own, and what is told of several engines of a model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import pytest
from support.engines import FACTS, FakeToolkit, Heard, request, tiny_model, write_model

from edged.engine.build import build
from edged.engine.explain import Question, explain
from edged.engine.manifest import decode
from edged.engine.protocol import Note
from edged.engine.source import changes
from edged.engine.trt_workshop import TrtWorkshop
from edged.errors import EngineError


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A model whose activation is an operator named Sharpen."""
    path = write_model(tmp_path / "models")
    model = tiny_model(batch="n")
    (node,) = [node for node in model.graph.node if node.name == "act"]
    node.op_type = "Sharpen"
    onnx.save(model, path.with_suffix(".onnx"))
    return path


@pytest.fixture
def library(tmp_path: Path) -> str:
    """A library that is not for ONNX Runtime."""
    path = tmp_path / "sharpen.so"
    path.write_bytes(b"a library for TensorRT")
    return str(path)


def test_tensorrt_gets_custom_operators_for_its_own_library(spec: Path, library: str, tmp_path: Path) -> None:
    toolkit, heard = FakeToolkit(opset=14), Heard()
    asked = request(spec, tmp_path, plugins=(library,))
    done = build(asked, heard, lambda given: TrtWorkshop(toolkit, given.plugins))
    ((graph, _),) = toolkit.built
    assert "Sharpen" in {node.op_type for node in graph.graph.node}
    assert decode((Path(done.folder) / "engine.json").read_bytes()).plugins[0].path == library
    notes = " | ".join(note.text for note in heard.of(Note))
    assert "ONNX Runtime lacks Sharpen: what the file says of its outputs is taken on trust" in notes
    assert "cannot be tried: ONNX Runtime lacks Sharpen" in notes


def test_a_library_that_lacks_the_operator_is_found_out_before_the_build(
    spec: Path, library: str, tmp_path: Path
) -> None:
    toolkit, asked = FakeToolkit(lacks=["Sharpen"]), request(spec, tmp_path, plugins=(library,))
    with pytest.raises(EngineError, match=r"lacks operators of the model: Sharpen \(in 1 nodes\)"):
        build(asked, Heard(), lambda given: TrtWorkshop(toolkit, given.plugins))
    assert not toolkit.built


def test_explain_tells_the_memory_of_every_precision(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "models")
    for precision in ("fp32", "fp16", "tf32"):
        asked = request(spec, tmp_path, precision=precision)
        build(asked, Heard(), lambda given: TrtWorkshop(FakeToolkit(), given.plugins))
    text, code = explain(Question(spec, tmp_path, "tensorrt", "fp16", lambda: FACTS))
    assert code == 0
    kinds = "GPU memory: weights 2.0 KiB; activations 1000 B a context; input and output 36.2 KiB a slot"
    lines = text.partition("built so far for tiny:\n")[2].splitlines()
    assert [line.split("  ")[0] for line in lines] == ["tensorrt/auto, tensorrt/fp32", "tensorrt/fp16", "tensorrt/tf32"]
    assert all(kinds in line for line in lines)


def test_a_changed_decoder_is_named(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "models")
    done = build(request(spec, tmp_path, backend="onnxruntime"), Heard())
    source = decode((Path(done.folder) / "engine.json").read_bytes()).source
    assert source.decoder_code == ""
    assert changes(source, msgspec.structs.replace(source, decoder_code="ab")) == ["the code of the decoder"]
