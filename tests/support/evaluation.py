# SPDX-License-Identifier: Apache-2.0
"""Small image folders, and models that are Python functions, for tests of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Detected
from edged.engine.evaluate.labels import Boxes
from edged.engine.images import Image, Survey, survey
from edged.graph.prepare import PreparedModel
from edged.model import ModelSpec
from edged.records import TensorSpec

NAMES = ["person", "car", "dog"]


def write_images(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """Write so many different pictures, ``00.png`` and so on; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rough = np.random.default_rng([seed, number]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(rough, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    return folder


def images_of(folder: Path, count: int = 3, **values: Any) -> Survey:
    """A survey of freshly written pictures."""
    return survey([write_images(folder, count, **values)])


def model_spec(task: str, **fields: Any) -> ModelSpec:
    """A model spec whose file is nowhere."""
    decoders = {"detection": "yolox"}
    fields.setdefault("input", {"size": [48, 64]})
    return ModelSpec.model_validate(
        {"id": "tiny", "onnx": Path("/nowhere.onnx"), "task": task, "decoder": decoders.get(task, task), **fields}
    )


def prepared_model(
    spec: ModelSpec, outputs: Sequence[TensorSpec] = (), classes: int | None = 3, **fields: Any
) -> PreparedModel:
    """What a prepared graph of a spec would say of itself."""
    return PreparedModel(
        digest="0" * 64,
        path="/nowhere.onnx",
        task=spec.task,
        decoder=spec.decoder,
        classes=classes,
        labels=NAMES[:classes],
        input_size=(48, 64),
        dynamic=False,
        fixed_batch=fields.pop("fixed_batch", None),
        outputs=list(outputs),
        opset=13,
        model_id=spec.id,
        **fields,
    )


class Answers:
    """A model that has one answer for each picture of a folder, whatever else is in its batch.

    Args:
        name: of the output.
        images: in their order.
        answers: for each image, one frame's part of the output.
    """

    def __init__(self, name: str, images: Sequence[Image], answers: Sequence[NDArray[Any]]) -> None:
        self._name = name
        self._answers = {
            key(cv2.imread(f"{one.folder}/{one.file}")): to for one, to in zip(images, answers, strict=True)
        }
        self.batches: list[int] = []

    def __call__(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.batches.append(len(frames))
        return {self._name: np.stack([self._answers[key(frame)] for frame in frames])}


def key(frame: Any) -> bytes:
    """What tells pictures apart."""
    return np.asarray(frame, np.uint8).tobytes()


def rows(*found: tuple[float, float, float, float, float, int], count: int = 8) -> NDArray[np.float32]:
    """One frame's part of the output ``detections``: x1, y1, x2, y2, score, class; filled up with zeros."""
    result = np.zeros((count, 6), np.float32)
    result[: len(found)] = np.array(found, np.float32).reshape(-1, 6)
    return result


def detected(*found: tuple[float, float, float, float, float, int]) -> Detected:
    """Detections, best first: x1, y1, x2, y2, score, class."""
    table = np.array(sorted(found, key=lambda one: -one[4]), np.float64).reshape(-1, 6)
    return Detected(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def boxes(*objects: tuple[float, float, float, float, int], crowd: Sequence[int] = ()) -> Boxes:
    """Labels of an image: x, y, width, height, class; those at the positions of ``crowd`` are crowds."""
    table = np.array(objects, np.float64).reshape(-1, 5)
    return Boxes(
        table[:, :4],
        table[:, 4].astype(np.int64),
        table[:, 2] * table[:, 3],
        np.isin(np.arange(len(table)), list(crowd)),
    )
