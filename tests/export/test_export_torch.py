# SPDX-License-Identifier: Apache-2.0
"""``edged export`` of real PyTorch models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edged.cli import main
from edged.engine.opset import nodes
from edged.graph.builder import default_opset
from edged.graph.prepare import PreparedModel, prepare
from edged.model_file import load_spec

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install -e '.[train]' brings it")

CODE = """\
import torch
from torch import nn

torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 16, 3, 2, 1))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 10)

    def features(self, x):
        return self.drop(self.body(x).mean((2, 3)))

    def forward(self, x):
        return self.head(self.features(x))

class Half(Net):
    def __init__(self):
        super().__init__()
        self.half().train()

class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        small = self.head(self.body(x).relu())
        return {"out": nn.functional.interpolate(small, size=x.shape[2:], mode="bilinear"), "aux": small}

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x):
        return self.layer(self.patches(x).flatten(2).transpose(1, 2))[:, 0]

class Fixed(Net):
    def forward(self, x):
        return self.head(self.features(x).view(1, 16))

class Lost(Net):
    def forward(self, x):
        return self.body(x).view(1, -1)

class Counted(Net):
    def forward(self, x):
        count = int(x.shape[0])
        return torch.stack([self.head(self.features(x))[index] for index in range(count)])

class Mixing(Net):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)

class Random(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(())

model = Net()
"""


def line(code: str) -> str:
    """``nets.py:LINE: `` of some code in nets.py."""
    return f"nets.py:{next(n for n, text in enumerate(CODE.splitlines(), 1) if code in text)}: "


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs ``edged export nets:…`` in a folder that holds nets.py."""
    (tmp_path / "nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def command(factory: str, *flags: str) -> tuple[int, str, str]:
        code = main(["export", f"nets:{factory}", "--size", "64,48", *flags])
        out, err = capsys.readouterr()
        return code, out, err

    yield command
    sys.modules.pop("nets", None)


def prepared(spec: Path) -> PreparedModel:
    """The spec as a start would take it."""
    return prepare(load_spec(spec), spec.parent / "cache")


def onnx_outputs(path: Path, frames: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: list[np.ndarray[Any, Any]] = session.run(None, {"image": frames})
    return found


def test_a_classifier(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ten.names").write_text("\n".join("abcdefghij"))
    code, out, err = run("Net", "--id", "net", "--output", "made", "--labels", "ten.names", "--imagenet")
    assert (code, err) == (0, "")
    assert "reads as  classification by decoder classification, 10 classes (by its shape [N, 10])" in out
    assert "right     batch 3: " in out
    model = prepared(tmp_path / "made/net.toml")
    assert (model.task, model.fixed_batch, model.labels, model.opset) == ("classification", None, [*"abcdefghij"], 17)
    graph = onnx.load(tmp_path / "made/net.onnx")
    assert [dim.dim_param or dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        64,
        48,
    ]
    (found,) = onnx_outputs(tmp_path / "made/net.onnx", np.zeros((5, 3, 64, 48), np.float32))
    assert found.shape == (5, 10)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["cache", "net.onnx", "net.toml"]


def test_weights_decide_what_comes_out(run: Run, tmp_path: Path) -> None:
    assert run("model", "--id", "a")[0] == 0
    nets = sys.modules["nets"]

    trained = nets.Net()
    torch.save({"epoch": 3, "state_dict": trained.state_dict()}, tmp_path / "w.pt")
    assert run("model", "--id", "b", "--weights", "w.pt")[0] == 0
    frames = np.random.default_rng(1).normal(size=(4, 3, 64, 48)).astype(np.float32)
    with torch.no_grad():
        expected = trained.eval()(torch.from_numpy(frames)).numpy()
    (with_weights,) = onnx_outputs(tmp_path / "b.onnx", frames)
    (without,) = onnx_outputs(tmp_path / "a.onnx", frames)
    np.testing.assert_allclose(with_weights, expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(without, expected, rtol=1e-2)


def test_weights_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pt")
    code, _, err = run("Net", "--weights", "w.pt")
    assert code == 78
    assert "w.pt: the weights do not fit nets:Net: 11 missing such as body.0.bias, 1 unknown such as other" in err
    torch.save(torch.nn.Linear(1, 1), tmp_path / "w.pt")
    code, _, err = run("Net", "--weights", "w.pt")
    assert code == 78
    assert "more than weights, which is not loaded for safety; save it with torch.save(model.state_dict()" in err
    assert "there.pt: the weights cannot be read (No such file or directory)" in run("Net", "--weights", "there.pt")[2]


def test_a_segmentation_net_with_two_outputs(run: Run, tmp_path: Path) -> None:
    code, out, err = run("Segmenter")
    assert (code, err) == (0, "")
    assert "output    out float32 [N, 5, 64, 48]" in out
    assert "left out  aux" in out
    model = prepared(tmp_path / "Segmenter.toml")
    assert (model.task, model.classes, model.fixed_batch) == ("segmentation", 5, None)
    assert run("Segmenter", "--decoder", "raw")[0] == 78
    assert run("Segmenter", "--decoder", "raw", "--force")[0] == 0
    assert [output.name for output in prepared(tmp_path / "Segmenter.toml").outputs] == ["out", "aux"]


def test_half_precision_and_training_mode_are_undone(run: Run, tmp_path: Path) -> None:
    assert run("Half")[0] == 0
    graph = onnx.load(tmp_path / "Half.onnx").graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT}
    assert "Dropout" not in {node.op_type for node in graph.node}


def test_the_newer_exporter_gives_the_same_and_keeps_no_traces(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    code, _, err = run("Net", "--exporter", "dynamo")
    assert (code, err) == (0, "")
    model = onnx.load(tmp_path / "Net.onnx")
    assert default_opset(model) == 17
    assert not any(node.doc_string or node.metadata_props for node in nodes(model.graph))
    assert str(tmp_path).encode() not in (tmp_path / "Net.onnx").read_bytes()


def test_where_the_classic_exporter_fails_the_newer_one_follows(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    code, out, err = run("Attention")
    assert (code, err) == (0, "")
    assert "passed over  classic exporter: UnsupportedOperatorError" in out
    assert "Torch IR graph" not in out
    assert prepared(tmp_path / "Attention.toml").fixed_batch is None


REFUSED = [
    ("Fixed", "the model's batch is fixed: it takes 1 but not 3: RuntimeError: shape '[1, 16]' is invalid"),
    ("Fixed", f"({line('view(1, 16)')}return self.head(self.features(x).view(1, 16)))"),
    (
        "Lost",
        f"lost at {line('view(1, -1)')}return self.body(x).view(1, -1) (view turns [11, 16, 16, 12] into [1, 33792]",
    ),
    ("Mixing", "changes between a batch of 1 and one of 3 by"),
    ("Random", "changes from one run to the next by"),
    ("Counted", f"something is fixed at {line('int(x.shape')}count = int(x.shape[0])"),
]


@pytest.mark.parametrize(("factory", "message"), REFUSED)
def test_what_cannot_be_batched_is_refused_with_its_line(factory: str, message: str, run: Run, tmp_path: Path) -> None:
    code, out, err = run(factory, "--exporter", "classic")
    assert (code, out) == (78, "")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.glob("*.onnx")) + list(tmp_path.glob("*.toml"))


def test_a_size_that_the_model_does_not_take(run: Run) -> None:
    code, _, err = run("Attention", "--size", "4,4")
    assert code == 78
    assert "the model fails on [1, 3, 4, 4]: RuntimeError: " in err
    assert line("self.patches(x)") in err


def test_labels_of_another_number_write_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "two.names").write_text("a\nb\n")
    code, _, err = run("Net", "--labels", "two.names")
    assert code == 78
    assert "the labels file has 2 names, but the model has 10 classes" in err
    assert not (tmp_path / "Net.onnx").exists()
