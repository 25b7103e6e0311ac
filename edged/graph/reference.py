# SPDX-License-Identifier: Apache-2.0
"""The input step and every decoder once more, in plain numpy and in the most obvious way.

Tests and verification compare the prepared graph with these. Nothing here shares code with the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.model import InputSpec, OutputSpec

Floats = NDArray[np.float32]


def input_step(frames: NDArray[np.uint8], spec: InputSpec) -> Floats:
    """What a model sees of some frames.

    Args:
        frames: uint8 [N, H, W, 3] in BGR order.
        spec: colour order, scale, mean and deviation.

    Returns:
        float32 [N, 3, H, W].
    """
    pixels = frames.astype(np.float32)
    if spec.color == "rgb":
        pixels = pixels[..., ::-1]
    values = (pixels / np.float32(spec.scale) - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)


def yolox(output: NDArray[Any], size: tuple[int, int], spec: OutputSpec) -> Floats:
    """Decode [N, A, 5 + C] of YOLOX for an input of ``size`` (height, width) into [N, k, 6]."""
    cells = [
        (column, row, stride)
        for stride in (8, 16, 32)
        for row in range(size[0] // stride)
        for column in range(size[1] // stride)
    ]
    grid = np.array(cells, np.float32)
    rows = output.astype(np.float32)
    boxes = rows.copy()
    boxes[..., :2] = (rows[..., :2] + grid[:, :2]) * grid[:, 2:]
    boxes[..., 2:4] = np.exp(rows[..., 2:4]) * grid[:, 2:]
    return yolov5(boxes, spec)


def yolov5(output: NDArray[Any], spec: OutputSpec) -> Floats:
    """Decode [N, A, 5 + C]: cx, cy, w, h, objectness, classes, into [N, k, 6]."""
    rows = output.astype(np.float32)
    objectness = _sigmoid(rows[..., 4]) if spec.activation == "sigmoid" else rows[..., 4]
    scores = objectness * activation(rows[..., 5:], spec).max(axis=-1)
    return _best(rows[..., :4], scores, rows[..., 5:].argmax(axis=-1), spec)


def yolov8(output: NDArray[Any], spec: OutputSpec) -> Floats:
    """Decode [N, 4 + C, A]: cx, cy, w, h, classes, into [N, k, 6]."""
    rows = output.astype(np.float32).transpose(0, 2, 1)
    scores = activation(rows[..., 4:], spec).max(axis=-1)
    return _best(rows[..., :4], scores, rows[..., 4:].argmax(axis=-1), spec)


def end2end(output: NDArray[Any], spec: OutputSpec) -> Floats:
    """Decode [N, K, 6]: the same rows, best first, at most ``pre_nms`` of them."""
    rows = output.astype(np.float32)
    return np.stack([frame[_descending(frame[:, 4])][: spec.pre_nms] for frame in rows])


def classification(output: NDArray[Any], spec: OutputSpec) -> Floats:
    """Decode [N, C] into the best classes [N, k, 2]: score, class."""
    values = output.astype(np.float32)
    order = np.stack([_descending(frame) for frame in values])[:, : spec.max_detections]
    scores = np.take_along_axis(activation(values, spec), order, axis=1)
    return np.stack([scores, order.astype(np.float32)], axis=2)


def segmentation(output: NDArray[Any]) -> NDArray[np.uint8]:
    """Decode [N, C, h, w] scores or [N, h, w] labels into a mask [N, h, w]."""
    labels = output.argmax(axis=1) if output.ndim == 4 else output
    return labels.astype(np.uint8)


def activation(values: Floats, spec: OutputSpec) -> Floats:
    """Apply the activation that the spec asks for over the last axis."""
    if spec.activation == "sigmoid":
        return _sigmoid(values)
    if spec.activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        result: Floats = powers / powers.sum(axis=-1, keepdims=True)
        return result
    return values


def _sigmoid(values: Floats) -> Floats:
    result: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.clip(values, -80, 80)))
    return result


def _descending(scores: Floats) -> NDArray[np.intp]:
    """Order from the highest to the lowest; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")


def _best(boxes: Floats, scores: Floats, classes: NDArray[np.intp], spec: OutputSpec) -> Floats:
    """The ``pre_nms`` best of each frame as x1, y1, x2, y2, score, class."""
    frames = []
    for centre_box, score, number in zip(boxes, scores, classes, strict=True):
        order = _descending(score)[: spec.pre_nms]
        x, y, width, height = centre_box[order].T
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        frames.append(np.stack([*corners, score[order], number[order].astype(np.float32)], axis=1))
    return np.stack(frames)
