# SPDX-License-Identifier: Apache-2.0
"""What a user would write without edged: read a frame, infer, suppress, send JSON; one after the other.

It does the same work as the daemon with ``YOLOX-Nano``: letterboxed input, the same thresholds, boxes in the video's
pixels. Prints its rate as JSON, without the first frames.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import zmq
from numpy.typing import NDArray

SIZE = 640
PAD = (114, 114, 114)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCORE, IOU = 0.3, 0.5


def letterbox(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float, int, int]:
    """The frame in the middle of a square, the factor and the offsets x, y."""
    height, width = frame.shape[:2]
    factor = min(SIZE / height, SIZE / width)
    small = cv2.resize(frame, (int(width * factor), int(height * factor)))
    x, y = (SIZE - small.shape[1]) // 2, (SIZE - small.shape[0]) // 2
    borders = (y, SIZE - small.shape[0] - y, x, SIZE - small.shape[1] - x)
    square = cv2.copyMakeBorder(small, *borders, cv2.BORDER_CONSTANT, value=PAD)
    return np.asarray(square, np.uint8), factor, x, y


def to_blob(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [1, 3, 640, 640], red-green-blue, as the model wants it."""
    mean = tuple(255 * value for value in MEAN)
    blob = cv2.dnn.blobFromImage(square, 1 / 255, (SIZE, SIZE), mean, swapRB=True)
    return np.asarray(blob / np.array(STD, np.float32).reshape(1, 3, 1, 1))


def grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of every anchor its cell [8400, 2] and its stride [8400, 1]."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        side = SIZE // stride
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        cells.append(np.stack([x, y], axis=2).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(
    output: NDArray[np.float32], cells: NDArray[np.float32], strides: NDArray[np.float32], labels: list[str]
) -> list[dict[str, Any]]:
    """Boxes of one frame in pixels of the square, after suppression class by class."""
    all_scores = output[:, 4:5] * output[:, 5:]
    classes = all_scores.argmax(axis=1)
    scores = all_scores[np.arange(len(classes)), classes]
    keep = scores > SCORE
    if not keep.any():
        return []
    center = (output[keep, :2] + cells[keep]) * strides[keep]
    size = np.exp(output[keep, 2:4]) * strides[keep]
    boxes, scores, classes = np.concatenate([center - size / 2, size], axis=1), scores[keep], classes[keep]
    chosen = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), classes.tolist(), SCORE, IOU)
    return [
        {"label": labels[classes[k]], "class_id": int(classes[k]), "score": float(scores[k]), "box": boxes[k].tolist()}
        for k in np.asarray(chosen).reshape(-1)
    ]


def to_source(found: list[dict[str, Any]], frame: NDArray[np.uint8], factor: float, x: int, y: int) -> None:
    """Boxes as x1, y1, x2, y2 in pixels of the frame, in place."""
    height, width = frame.shape[:2]
    for item in found:
        left, top, w, h = item["box"]
        item["box"] = [
            min(max((left - x) / factor, 0.0), width),
            min(max((top - y) / factor, 0.0), height),
            min(max((left + w - x) / factor, 0.0), width),
            min(max((top + h - y) / factor, 0.0), height),
        ]


def watch(capture: cv2.VideoCapture, model: Path, threads: int, socket: zmq.Socket[bytes], skip: int) -> dict[str, Any]:
    """Infer and send every frame; the first ``skip`` are not timed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(model / "yolox_nano_coco.onnx"), options, providers=["CPUExecutionProvider"]
    )
    labels = (model / "coco.names").read_text().split("\n")
    cells, strides = grid()
    frames, objects, start = 0, 0, 0.0
    while True:
        there, picture = capture.read()
        if not there:
            break
        frame = np.asarray(picture, np.uint8)
        square, factor, x, y = letterbox(frame)
        (output,) = session.run(None, {"images": to_blob(square)})
        found = decode(output[0], cells, strides, labels)
        to_source(found, frame, factor, x, y)
        socket.send_multipart([b"predictions", json.dumps({"frame": frames, "detections": found}).encode()])
        frames, objects = frames + 1, objects + len(found)
        if frames == skip + 1:
            start = time.monotonic()
    rate = (frames - skip - 1) / (time.monotonic() - start)
    return {"frames": frames, "objects": objects, "frames_per_s": rate}


def main(argv: list[str] | None = None) -> int:
    """Run over a video."""
    parser = argparse.ArgumentParser(description="Detect objects in a video and publish them, one step after another.")
    parser.add_argument("video")
    parser.add_argument("--model", type=Path, required=True, help="folder of yolox_nano_coco.onnx and coco.names")
    parser.add_argument("--bind", required=True, help="ZeroMQ endpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", type=int, default=10, help="frames at the start that are not timed")
    arguments = parser.parse_args(argv)
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 1000
        socket.bind(arguments.bind)
        capture = cv2.VideoCapture(arguments.video)
        print(json.dumps(watch(capture, arguments.model, arguments.threads, socket, arguments.skip)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
