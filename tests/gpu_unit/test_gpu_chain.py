# SPDX-License-Identifier: Apache-2.0
"""The check of whole INT8 builds on a GPU, here with ONNX Runtime on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.chains import Rig, write_rig

from edged.engine.chain.calibrating import Subject as CalibratedSubject
from edged.engine.chain.racing import Outcome
from edged.engine.images import survey
from edged.engine.int8.run import open_onnxruntime
from edged.engine.ort_workshop import session_run
from edged.gpu.trt.build import BuildOptions
from tools.gpu import chain as chains
from tools.gpu.chain import Chain, chain
from tools.gpu.chain_agree import agree, engine_and_plan, job_of
from tools.gpu.chain_bench import Bench, done, manifests
from tools.gpu.chain_data import Subject
from tools.gpu.chain_noise import half_stored
from tools.gpu.chain_rest import behind_heads, changes
from tools.gpu_check import CHAIN_STEPS


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = write_rig(tmp_path)
    rig.build(precision="auto", race=lambda workshop, some, weights: Outcome(some[-1].name, "", {}))
    return rig


def test_an_engine_agrees_with_its_plan_and_not_with_another(rig: Rig) -> None:
    content, least, most, plan = engine_and_plan(rig.state, "net", "onnxruntime")
    assert (least, most) == (1, 1)
    path = rig.folder / "engine.onnx"
    path.write_bytes(content)
    job = job_of(rig.spec, rig.state, rig.folder)
    found = agree(job, survey([rig.val]), session_run(path), plan)
    assert found["ok"]
    assert found["exact"] == {"matched": 1.0, "differ": 0, "of": 24}
    assert found["no further than rounding"]
    usual = session_run(path)
    other = agree(job, survey([rig.val]), lambda frames: usual(255 - frames), plan)
    assert not other["ok"]


def test_steps_are_done_once_and_told_in_short(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHAIN_STEPS == chains.STEPS
    monkeypatch.setitem(chains.CHAINS, "digits", Chain("net", (), 60, "int8"))
    net = Subject(rig.spec, rig.calib, rig.val, None)
    monkeypatch.setattr("tools.gpu.chain_bench.subjects", lambda data, folder: {"net": net})
    folder = rig.folder / "visit"
    # As the build would have left it.
    (folder / "chain").mkdir(parents=True)
    rig.state.rename(folder / "chain" / "digits")
    monkeypatch.setattr(Bench, "run", lambda bench, name, words, limit_s: (0, 1.5, "  plans are run by x\n"))
    found = chain(folder, rig.folder, rig.folder / "json", steps=("digits",), backend="onnxruntime")
    row = found["digits"]
    assert (row["ok"], row["chosen"], row["notes"]) == (True, "int8", ["plans are run by x"])
    assert row["lost"] == {"fp32": 0.0, "int8": 0.0}
    assert json.loads((rig.folder / "json" / "chain-done.json").read_text())["digits"]["share"] > 0.7
    assert (rig.folder / "json" / "chain-digits-report.html").is_file()
    assert done(folder / "chain") == json.loads(json.dumps(found))
    assert set(manifests(folder / "chain" / "digits", "net", "onnxruntime")) == {"fp32", "int8", "auto"}
    again = chain(folder, rig.folder, None, 0.0, backend="onnxruntime")
    assert list(again) == ["digits"], "all others need more time than there is"
    monkeypatch.setattr(Bench, "run", lambda bench, name, words, limit_s: (-1, 60.0, "too slow"))
    assert not chain(folder, rig.folder, None, steps=("digits",), backend="onnxruntime")["digits"]["ok"]


def test_floats_that_are_kept_in_float16_move_results_by_as_much(rig: Rig) -> None:
    subject = CalibratedSubject(job_of(rig.spec, rig.state, rig.folder))
    frames = next(iter(subject.frames(survey([rig.val]).images)))
    outputs = [spec.name for spec in subject.job.prepared.outputs]

    def run(model: onnx.ModelProto) -> np.ndarray:
        found = open_onnxruntime(model)(frames)
        return np.concatenate([found[name].ravel() for name in outputs])

    plain, half = run(subject.model), run(half_stored(subject.model))
    kept = run(half_stored(subject.model, kept={node.name for node in subject.model.graph.node}))
    assert np.array_equal(plain, kept)
    apart = np.abs(plain - half).max()
    assert 0 < apart < 1e-2


def test_what_lies_behind_the_last_convolutions(rig: Rig) -> None:
    subject = CalibratedSubject(job_of(rig.spec, rig.state, rig.folder))
    names = behind_heads(subject)
    assert names[:3] == ("head", "pool", "flat")
    assert "c3" not in names
    served, plain, heads = (change(BuildOptions((), precision="int8")) for change in changes(subject).values())
    assert (served.float_rest, plain.float_rest, heads.float_nodes) == (False, True, names)
