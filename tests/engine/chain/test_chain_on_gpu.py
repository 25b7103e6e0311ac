# SPDX-License-Identifier: Apache-2.0
"""Calibration and search on the GPU: the same plan comes out, from engines that are built once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chains import Rig, write_rig
from support.engines import FakeToolkit, Heard

from edged.engine import weighing
from edged.engine.chain.racing import Outcome, Race
from edged.engine.int8.run import CPU, providers
from edged.engine.manifest import Manifest
from edged.engine.protocol import BuildRequest, Note, Phase
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Workshop
from edged.errors import EngineError
from edged.gpu.errors import GpuMemoryError
from edged.gpu.plain import PlainRun


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return write_rig(tmp_path)


def built(rig: Rig, toolkit: FakeToolkit, **fields: object) -> tuple[Manifest, Heard]:
    def tensorrt(asked: BuildRequest) -> Workshop:
        return TrtWorkshop(toolkit)

    first: Race = lambda workshop, some, weights: Outcome(some[-1].name, "", {})  # noqa: E731
    _, manifest, heard = rig.build(backend="tensorrt", tensorrt=tensorrt, race=first, **fields)
    return manifest, heard


def notes(heard: Heard) -> str:
    return "\n".join(one.text for one in heard.of(Note))


def test_two_engines_measure_and_find_what_onnx_runtime_finds(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "NODE_S", 10.0)
    small, heard = built(rig, FakeToolkit())
    text = notes(heard)
    assert "40 images were run by onnxruntime" in text, "a small model is not worth an engine"
    assert text.count("s to build what would measure") == 2
    assert "needs about 0 s, tensorrt about " in text
    monkeypatch.setattr(weighing, "NODE_S", 0.0)
    _, heard = built(rig, FakeToolkit(), force=True)
    assert "the ranges of 40 images are known from before" in notes(heard), "whoever measured them"
    toolkit = FakeToolkit()
    manifest, heard = built(rig._replace(state=rig.folder / "other"), toolkit)
    measuring = [options for _, options in toolkit.built if not options.detailed]
    assert len(measuring) == 2, "one for calibration, one for all plans"
    assert {(one.precision, one.optimization_level) for one in measuring} == {("fp32", 0)}
    assert sum(one.name == "building what measures" for one in heard.of(Phase)) == 2
    assert "40 images were run by tensorrt 10.3.0 on Orin, fp32" in notes(heard)
    assert small.int8 is not None
    assert manifest.int8 is not None
    assert (manifest.int8.share, manifest.int8.layers) == (small.int8.share, small.int8.layers)
    assert [one.note for one in manifest.candidates] == [one.note for one in small.candidates]


def test_a_plan_that_is_refused_on_the_gpu_says_what_it_loses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "NODE_S", 0.0)
    manifest, _ = built(rig, FakeToolkit(), precision="auto", keep_float=("c0", "hot", "c3", "head"))
    assert manifest.candidates[-1].note.startswith("int8 (20%): loses")


@pytest.mark.parametrize("error", [EngineError("no kernel for Where"), GpuMemoryError("too little")])
def test_where_tensorrt_cannot_onnx_runtime_measures(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Unable(FakeToolkit):
        @contextlib.contextmanager
        def plain(self, plan: bytes) -> Iterator[PlainRun]:
            raise error
            yield

    monkeypatch.setattr(weighing, "NODE_S", 0.0)
    manifest, heard = built(rig, Unable())
    assert manifest.int8 is not None
    text = notes(heard)
    assert "tensorrt 10.3.0 on Orin, fp32 cannot measure, so onnxruntime" in text
    assert str(error.args[0]) in text


def test_onnx_runtime_computes_on_a_gpu_only_where_it_can_and_one_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers(None) == CPU
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert providers(0) == CPU
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", *CPU])
    assert providers(None) == CPU
    (name, options), *rest = providers(1)
    assert (name, options["device_id"], options["use_tf32"], rest) == ("CUDAExecutionProvider", "1", "0", [*CPU])
