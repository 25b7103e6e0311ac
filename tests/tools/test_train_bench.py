# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the trained models: the parts that need no long build."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from support.data import shared_data
from support.reports import read

from tools.bench import int8, masks
from tools.models.folders import ASSETS, DataSet

EVALUATION: dict[str, Any] = {
    "metric": "AP",
    "reference": 60.0,
    "value": 59.5,
    "images": 300,
    "figures": {"AP50": {"reference": 99.0, "value": 98.8}},
}
MANIFEST: dict[str, Any] = {"evaluation": EVALUATION, "int8": {"share": 0.85}}


def test_masks_and_boxes_are_published_and_weighed(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    assert masks.main(["--frames", "8", "--fps", "3", "--output", str(output)]) == 0
    figures, details = read(output)
    assert figures["masks, uncompressed"] == 513 * 513
    assert 500 < figures["masks, message: blobs"] < 100_000
    assert figures["boxes, message: blobs"] == 0
    assert figures["masks, postprocess: CPU"] > 0
    assert figures["masks, compressing alone"] > 10
    assert len(details["masks"]["bytes"]) == 8


@pytest.mark.parametrize(("metric", "loss"), [("AP", 0.5), ("AP50", 0.2)])
def test_what_the_manifest_says(metric: str, loss: float) -> None:
    found = int8.outcome(MANIFEST, metric)
    assert found.loss == pytest.approx(loss)
    assert (found.share, found.images) == (0.85, 300)


@pytest.mark.parametrize(("manifest", "missing"), [
    ({}, "'evaluation'"),
    ({"evaluation": None}, "'evaluation'"),
    ({"evaluation": EVALUATION}, "'int8'"),
    ({"evaluation": EVALUATION, "int8": {}}, "'share'"),
    ({"evaluation": {**EVALUATION, "metric": "agreement", "figures": {}}, "int8": {"share": 1.0}}, "'AP'"),
])  # fmt: skip
def test_what_the_manifest_does_not_say_is_named(manifest: dict[str, Any], missing: str) -> None:
    with pytest.raises(int8.AbsentError, match=missing):
        int8.outcome(manifest, "AP")


def test_the_command_is_the_users(tmp_path: Path) -> None:
    data = DataSet(Path("m.toml"), Path("c"), Path("v"), Path("l.json"))
    text = " ".join(int8.command(data, tmp_path, ["--bound", "2"])[3:])
    flags = "--backend onnxruntime --precision int8 --state-dir {} --calibrate c --evaluate v --labels l.json --bound 2"
    assert text == f"m.toml {flags.format(tmp_path)}"


def test_a_build_that_fails_ends_the_benchmark_with_its_message(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "missing.toml", tmp_path, tmp_path, tmp_path)
    with pytest.raises(SystemExit, match=r"ended with \d+:") as ended:
        int8.build(data, tmp_path / "state", [])
    assert "edged-build-engine: " in str(ended.value)


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits come with scikit-learn")
def test_digits_are_prepared(tmp_path: Path) -> None:
    data = int8.prepare("digits", tmp_path)
    assert data.spec == ASSETS / "digits.toml"
    assert len(list(data.val.iterdir())) == 1097
    assert data.labels.read_text().count("\n") == 1098


@pytest.mark.data
def test_the_real_detector_is_prepared(tmp_path: Path) -> None:
    shared_data()
    data = int8.prepare("yolox", tmp_path)
    assert data.spec.is_file()
    assert data.calib.is_dir()
    assert data.labels.is_file()
