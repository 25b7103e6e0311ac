# SPDX-License-Identifier: Apache-2.0
"""Models with operators that only a library of the user knows, and decoders whose code is the user's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edged.engine.half import half_typed
from edged.errors import ModelError
from edged.graph.custom import check, custom_operators, register
from edged.graph.prepare import prepare, spec_digest
from edged.model import ModelSpec

MakeSpec = Callable[..., ModelSpec]
LIBRARY = (__file__,)
"""Any file: ONNX Runtime takes it for a library of another runtime's."""


def custom_model(
    tiny: Any, *, domain: str = "mine", shape: tuple[Any, ...] = ("batch", 4, 8, 8), batch: Any = "batch"
) -> onnx.ModelProto:
    """A convolution and an operator that nobody knows."""
    model = tiny(dims=(batch, 3, 64, 64))
    model.node("Sharpen", [model.conv(4, 8)], "sharp", domain=domain, strength=2)
    made: onnx.ModelProto = model.model(("sharp", list(shape)))
    if domain:
        made.opset_import.append(helper.make_opsetid(domain, 1))
    return made


@pytest.mark.parametrize("domain", ["", "mine"])
def test_unknown_operators_pass_where_a_library_may_bring_them(
    domain: str, make_spec: MakeSpec, tiny: Any, tmp_path: Path
) -> None:
    path = tmp_path / "custom.onnx"
    onnx.save(custom_model(tiny, domain=domain), path)
    spec = make_spec(path, task="raw", decoder="raw")
    with pytest.raises(ModelError, match="edged-build-engine --plugin"):
        prepare(spec, tmp_path / "cache")
    prepared = prepare(spec, tmp_path / "cache", LIBRARY)
    assert prepared.unknown == ["Sharpen"]
    assert (prepared.fixed_batch, prepared.outputs[0].shape, prepared.outputs[0].dtype) == (None, (4, 8, 8), "float32")
    graph = onnx.load(prepared.path)
    check(graph)
    assert custom_operators(graph) == {"Sharpen": 1}
    # What the builder has prepared, a daemon takes without knowing of libraries.
    assert prepare(spec, tmp_path / "cache") == prepared


def test_what_the_file_does_not_declare_cannot_be_believed(make_spec: MakeSpec, tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "custom.onnx"
    for shape, batch in [(("batch", 4, "h", "w"), "batch"), ((), "batch"), ((2, 4, 8, 8), 1)]:
        onnx.save(custom_model(tiny, shape=shape, batch=batch), path)
        with pytest.raises(ModelError, match=r"output sharp is declared as .* for the lack of Sharpen"):
            prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache", LIBRARY)
    onnx.save(custom_model(tiny, shape=(2, 4, 8, 8), batch=2), path)
    assert prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache", LIBRARY).fixed_batch == 2


def test_what_is_wrong_besides_is_still_found(make_spec: MakeSpec, tiny: Any, tmp_path: Path) -> None:
    model = custom_model(tiny, domain="")
    model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["lost"], name="broken"))
    onnx.save(model, tmp_path / "custom.onnx")
    with pytest.raises(ModelError, match="the ONNX graph is invalid"):
        prepare(make_spec(tmp_path / "custom.onnx", task="raw", decoder="raw"), tmp_path / "cache", LIBRARY)


def test_functions_and_known_domains_are_not_custom() -> None:
    nodes = [
        helper.make_node("Twice", ["x"], ["y"], domain="local"),
        helper.make_node("If", ["c"], ["z"], then_branch=_branch("Odd"), else_branch=_branch("Relu")),
        helper.make_node("Scaler", ["y"], ["s"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xz"]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    opsets = [helper.make_opsetid(name, version) for name, version in [("", 17), ("local", 1), ("ai.onnx.ml", 3)]]
    assert custom_operators(helper.make_model(graph, functions=[twice], opset_imports=opsets)) == {"Odd": 1}


def test_onnx_runtime_takes_the_libraries_that_are_for_it(tmp_path: Path) -> None:
    """A library with ONNX Runtime's entry point, which registers nothing, and one without."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    for name, code in [("ours", "void *RegisterCustomOps(void *o, const void *a) { return 0; }"), ("other", "int x;")]:
        (tmp_path / f"{name}.c").write_text(code)
        command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / f"{name}.so"), str(tmp_path / f"{name}.c")]
        subprocess.run(command, check=True, timeout=60)
    libraries = [str(tmp_path / "ours.so"), str(tmp_path / "other.so"), str(tmp_path / "absent.so")]
    assert register(ort.SessionOptions(), libraries) == libraries[1:]


CODE = """
from edged.graph.outputs.raw import Raw
class Mine(Raw):
    name = "mine"
"""


def test_the_code_of_a_users_decoder_belongs_to_the_digest(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, package = tmp_path / "mine-1.0.dist-info", tmp_path / "mine_package"
    for folder in (info, package):
        folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edged.decoders]\nalone = mine_alone:Mine\nmany = mine_package:Mine\nlost = no_such.module:Mine\n"
    )
    (tmp_path / "mine_alone.py").write_text(CODE)
    (package / "__init__.py").write_text("from mine_package.inner import Mine")
    (package / "inner.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"any")

    def digests() -> dict[str, str]:
        names = ("alone", "many", "lost", "raw")
        return {name: spec_digest(make_spec(model, task="raw", decoder=name)) for name in names}

    before = digests()
    assert digests() == before
    (tmp_path / "mine_alone.py").write_text(CODE + "# changed\n")
    changed = digests()
    assert {name for name in before if before[name] != changed[name]} == {"alone"}
    (package / "inner.py").write_text(CODE + "# changed\n")
    assert {name for name in before if changed[name] != digests()[name]} == {"many"}
    assert "mine_alone" not in sys.modules


def _branch(operator: str) -> onnx.GraphProto:
    info = helper.make_tensor_value_info("r", TensorProto.FLOAT, [1])
    return helper.make_graph([helper.make_node(operator, ["x"], ["r"])], operator, [], [info])


def test_a_custom_node_keeps_float32_amid_float16(tiny: Any) -> None:
    model = custom_model(tiny)
    model.graph.node.append(helper.make_node("Relu", ["sharp"], ["out"], name="relu"))
    model.graph.value_info.append(model.graph.output[0])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4, 8, 8]))
    half = half_typed(model)
    (custom,) = [node for node in half.graph.node if node.op_type == "Sharpen"]
    (reader,) = [node for node in half.graph.node if node.input and node.input[0] == custom.output[0]]
    (writer,) = [node for node in half.graph.node if custom.input[0] in node.output]
    assert (writer.op_type, reader.op_type) == ("Cast", "Cast")
    assert writer.attribute[0].i == TensorProto.FLOAT
    assert reader.attribute[0].i == TensorProto.FLOAT16
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["w"] == TensorProto.FLOAT16
