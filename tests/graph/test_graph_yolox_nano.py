# SPDX-License-Identifier: Apache-2.0
"""A real detector on real pictures: the prepared graph against the plain model and the numpy references."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edged.graph import reference
from edged.graph.prepare import PreparedModel, prepare
from edged.model import ModelSpec
from edged.records import TensorSpec

DATA = Path(os.environ.get("SHARED_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "yolox-nano").is_dir(), reason="the shared data folder (SHARED_DATA_DIR) is absent"),
]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    folder = DATA / "yolox-nano"
    fields = {"size": [640, 640], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return ModelSpec.model_validate(
        {
            "id": "yolox-nano",
            "onnx": folder / "yolox_nano_coco.onnx",
            "labels": folder / "coco.names",
            "task": "detection",
            "decoder": "yolox",
            "input": fields,
        }
    )


@pytest.fixture(scope="module")
def prepared(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare(spec, tmp_path_factory.mktemp("cache"))


def pictures(count: int) -> NDArray[np.uint8]:
    files = sorted((DATA / "coco-mini" / "val").glob("*.jpg"))[:count]
    images = [cv2.imread(str(file)) for file in files]
    return np.stack([cv2.resize(image, (640, 640)) for image in images if image is not None]).astype(np.uint8)


def test_the_report(prepared: PreparedModel) -> None:
    assert prepared.classes == 80
    assert prepared.labels[0] == "person"
    assert (prepared.opset, prepared.fixed_batch, prepared.input_size) == (13, None, (640, 640))
    assert prepared.outputs == [TensorSpec("detections", "float32", (1000, 6))]


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_plain_model_and_the_references(
    batch: int, spec: ModelSpec, prepared: PreparedModel, run: Callable[..., list[NDArray[Any]]]
) -> None:
    frames = pictures(batch)
    (plain,) = run(spec.onnx, images=reference.input_step(frames, spec.input))
    expected = reference.yolox(plain, (640, 640), spec.output)
    (found,) = run(Path(prepared.path), frames=frames)
    assert found.shape == expected.shape == (batch, 1000, 6)
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=1e-3, atol=1e-5)
    # Rows of nearly equal scores may change places; among the clear ones nothing may.
    for ours, theirs in zip(found, expected, strict=True):
        clear = int((theirs[:, 4] > 0.1).sum())
        assert clear > 3
        for row in ours[:clear]:
            candidates = theirs[np.abs(theirs[:, 4] - row[4]) < 1e-4]
            assert np.isclose(candidates[:, :4], row[:4], atol=0.05).all(axis=1).any()
            assert row[5] in candidates[:, 5]
