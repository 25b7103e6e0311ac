# SPDX-License-Identifier: Apache-2.0
"""Measure the shapes detector on held-out scenes: mAP50 for several frame sizes, and the time of an inference.

Needs numpy, OpenCV and ONNX Runtime, no PyTorch. Preprocessing and suppression are plain numpy and OpenCV here, written
apart from the product, so that the two check one another.

    python tools/evaluate_shapes.py edged/assets/shapes.toml
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edged.stages.capture.shapes import ShapesScene
from tools.shapes_map import Prediction, Truth, average_precisions, iou

SPEC = Path(__file__).resolve().parents[1] / "edged" / "assets" / "shapes.toml"
HELD_OUT_SEEDS = range(5_000, 6_000)
"""Scenes of these seeds are for measuring only. Training takes seeds from 10 000 on; demos use small ones."""
SIZES = ((640, 480), (960, 540), (320, 240))


def letterbox(
    frame: NDArray[np.uint8], size: tuple[int, int], pad: int = 114
) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """`frame` (h x w x 3) fitted into `size` (height, width), centred; and the factor and offset (x, y)."""
    height, width = frame.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    new = int(height * factor), int(width * factor)
    x, y = (size[1] - new[1]) // 2, (size[0] - new[0]) // 2
    result = np.full((*size, 3), pad, np.uint8)
    cv2.resize(frame, (new[1], new[0]), dst=result[y : y + new[0], x : x + new[1]], interpolation=cv2.INTER_LINEAR)
    return result, factor, (x, y)


def to_input(frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Frames (h x w x 3, blue-green-red) as the model's input: float32 n x 3 x h x w, red-green-blue, 0 … 1."""
    images: NDArray[np.float32] = np.ascontiguousarray(np.stack(frames)[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    images /= 255
    return images


def detections(output: NDArray[np.float32], threshold: float, iou_threshold: float) -> list[Prediction]:
    """The boxes of one frame's output (4 + classes x anchors), after suppression class by class."""
    scores, classes = output[4:].max(0), output[4:].argmax(0)
    keep = np.flatnonzero(scores >= threshold)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    center, half = output[:2, keep].T.astype(np.float64), output[2:4, keep].T.astype(np.float64) / 2
    boxes = np.concatenate([center - half, center + half], 1)
    # Boxes of different classes never suppress one another.
    overlaps = iou(boxes, boxes) * (classes[keep][:, None] == classes[keep][None, :])
    kept: list[int] = []
    for number in range(len(keep)):
        if not kept or overlaps[number, kept].max() <= iou_threshold:
            kept.append(number)
    return [(int(classes[keep[k]]), float(scores[keep[k]]), tuple(boxes[k].tolist())) for k in kept]


def to_source(
    found: list[Prediction], factor: float, offset: tuple[int, int], width: int, height: int
) -> list[Prediction]:
    """Boxes of the model's input as boxes of the source frame, in its pixels, clipped to it."""
    shift, limit = np.array([*offset, *offset]), np.array([width, height, width, height])
    return [
        (number, score, tuple(np.clip((np.array(box) - shift) / factor, 0, limit).tolist()))
        for number, score, box in found
    ]


def measure(
    session: onnxruntime.InferenceSession, spec: dict[str, Any], size: tuple[int, int], scenes: int, frames: int
) -> dict[int, float]:
    """Average precision of each class over `scenes` held-out scenes of `size` (width, height), `frames` of each."""
    truths: list[list[Truth]] = []
    predictions: list[list[Prediction]] = []
    for seed in HELD_OUT_SEEDS[:scenes]:
        scene = ShapesScene(seed, *size)
        for index in range(0, frames * 37, 37):
            image, factor, offset = letterbox(scene.render(index), tuple(spec["input"]["size"]), spec["input"]["pad"])
            (output,) = session.run(None, {"images": to_input([image])})
            found = detections(output[0], spec["output"]["score_threshold"], spec["output"]["iou_threshold"])
            predictions.append(to_source(found, factor, offset, *size))
            truths.append([(shape.class_id, shape.box) for shape in scene.truth(index)])
    return average_precisions(truths, predictions)


def time_of(session: onnxruntime.InferenceSession, batch: int, size: tuple[int, int], rounds: int = 200) -> float:
    """Median time of one inference in milliseconds."""
    images = np.random.RandomState(0).random_sample((batch, 3, *size)).astype(np.float32)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        session.run(None, {"images": images})
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def report(spec_file: Path, scenes: int, frames: int, threads: int) -> float:
    """Print what was measured; returns the lowest mAP50 of all frame sizes."""
    spec = tomllib.loads(spec_file.read_text("utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(spec_file.parent / spec["onnx"]), options, providers=["CPUExecutionProvider"]
    )
    results = []
    for size in SIZES:
        precisions = measure(session, spec, size, scenes, frames)
        results.append(float(np.mean(list(precisions.values()))))
        classes = ", ".join(f"class {number} {value:.4f}" for number, value in precisions.items())
        print(f"{size[0]}x{size[1]}: mAP50 {results[-1]:.4f} ({classes}) on {scenes * frames} held-out frames")
    for batch in (1, 3, 8):
        print(f"batch {batch}: {time_of(session, batch, tuple(spec['input']['size'])):.2f} ms, {threads} threads")
    return min(results)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="Measure the shapes detector on held-out scenes.")
    parser.add_argument("spec", type=Path, nargs="?", default=SPEC)
    parser.add_argument("--scenes", type=int, default=250, help="held-out scenes (at most 1000)")
    parser.add_argument("--frames", type=int, default=4, help="frames of each scene")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime")
    arguments = parser.parse_args()
    report(arguments.spec, arguments.scenes, arguments.frames, arguments.threads)


if __name__ == "__main__":
    main()
