# SPDX-License-Identifier: Apache-2.0
"""Train a small segmentation model (513×513, 21 classes), and write segments.onnx, .toml, .names with its images.

    pip install -e '.[train]'      # torch, for training only
    python tools/train_segments.py --output out/segments

About six minutes on one CPU core. Every step draws new scenes, of a quarter of the area: what matters is the size of
the shapes, not that of the picture. Reproducible for one version of PyTorch, machine and number of threads.

The network is an encoder of depthwise convolutions down to a sixteenth, dilated ones there, looked at with several
reaches side by side, and a decoder that joins this with the features of a quarter; scores are enlarged in the graph.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.models.export import export
from tools.models.fit import depthwise, fit
from tools.models.folders import Pixels
from tools.models.scenes import LABELS, scene
from tools.models.segments import FIRST_TRAINING_SEED, HELD_OUT_SEEDS, SIDE, SPEC, confusion, mean_iou, write_data
from tools.train_shapes import block

TRAINING_SIDE = 257
BATCH = 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GROUND_WEIGHT = 0.4  # the ground has more pixels than all shapes together


class Segmenter(nn.Module):  # type: ignore[misc]  # PyTorch is optional: to mypy it is Any
    """float32 n x 3 x side x side, red-green-blue, normalised as `SPEC` says → n x 21 x side x side scores.

    `side` is a multiple of 16 and 1 more, so that the corners of every grid lie on those of the picture.
    """

    def __init__(self, side: int = SIDE, widths: tuple[int, int, int, int] = (16, 24, 48, 96)) -> None:
        super().__init__()
        first, quarter, eighth, deep = widths
        self.side = side
        self.quarter = nn.Sequential(block(3, first, stride=2), depthwise(first, quarter, stride=2))
        self.eighth = depthwise(quarter, eighth, stride=2)
        self.more = depthwise(eighth, eighth)
        self.deep = depthwise(eighth, deep, stride=2)
        self.wider = nn.ModuleList([depthwise(deep, deep, dilation=dilation) for dilation in (1, 2, 4)])
        reaches = (block(deep, deep // 2, 1, padding=0), *(depthwise(deep, deep // 2, dilation=d) for d in (3, 6)))
        self.reaches = nn.ModuleList(reaches)
        self.join = block(3 * (deep // 2), eighth, 1, padding=0)
        self.fine = block(quarter, quarter, 1, padding=0)
        self.decode = depthwise(eighth + quarter, 64)
        self.score = nn.Conv2d(64, len(LABELS), 1)

    def coarse(self, images: Tensor) -> Tensor:
        """Scores of every fourth pixel: n x 21 x (side + 3) / 4 each way."""
        quarter = self.quarter(images)
        features = self.eighth(quarter)
        features = self.deep(features + self.more(features))
        for layer in self.wider:
            features = features + layer(features)
        features = self.join(torch.cat([layer(features) for layer in self.reaches], 1))
        features = enlarge(features, self.side // 16 + 1, self.side // 4 + 1)
        return self.score(self.decode(torch.cat([features, self.fine(quarter)], 1)))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return enlarge(self.coarse(images), self.side // 4 + 1, self.side)


def enlarge(maps: Tensor, before: int, after: int) -> Tensor:
    """Bilinear, corners on corners. The factor is a little too large on purpose: the size is rounded down from it."""
    return functional.interpolate(maps, scale_factor=(after + 0.4) / before, mode="bilinear", align_corners=True)


def as_input(images: list[Pixels]) -> Tensor:
    """Pictures (h x w x 3, blue-green-red) as the model takes them."""
    stacked = np.stack(images)[..., ::-1].astype(np.float32) / 255
    normal = (stacked - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))


def train(steps: int, rate: float, seed: int) -> nn.Module:
    """A trained model."""
    torch.manual_seed(seed)
    weight = torch.ones(len(LABELS))
    weight[0] = GROUND_WEIGHT
    first = FIRST_TRAINING_SEED + seed * 1_000_000

    def step_loss(model: nn.Module, step: int) -> Tensor:
        drawn = [scene(first + step * BATCH + number, TRAINING_SIDE) for number in range(BATCH)]
        truth = torch.from_numpy(np.stack([mask[::4, ::4] for _, mask in drawn]).astype(np.int64))
        return functional.cross_entropy(model.coarse(as_input([image for image, _ in drawn])), truth, weight)

    return fit(Segmenter(TRAINING_SIDE), step_loss, steps, rate)


def measure(path: Path, scenes: int, threads: int) -> float:
    """Mean intersection over union of an ONNX file on held-out scenes, 0 to 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    for seed in HELD_OUT_SEEDS[:scenes]:
        image, truth = scene(seed, SIDE)
        (scores,) = session.run(None, {"image": as_input([image]).numpy()})
        counts += confusion(truth, scores[0].argmax(axis=0).astype(np.uint8), len(LABELS))
    return mean_iou(counts)


def main(argv: list[str] | None = None) -> None:
    """Train, export and measure as the command line says."""
    parser = argparse.ArgumentParser(description="Train a segmentation model of coloured shapes.")
    parser.add_argument("--output", type=Path, default=Path("out/segments"), help="folder for the model and its images")
    parser.add_argument("--model-only", action="store_true", help="write no images")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--rate", type=float, default=8e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=100, help="held-out scenes to measure on")
    parser.add_argument("--threads", type=int, default=1, help="more are slower on a busy machine")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    model = train(arguments.steps, arguments.rate, arguments.seed)
    model.side = SIDE
    arguments.output.mkdir(parents=True, exist_ok=True)
    export(model, arguments.output / "segments.onnx", (SIDE, SIDE), (len(LABELS), SIDE, SIDE))
    (arguments.output / "segments.toml").write_text(SPEC, "utf-8")
    (arguments.output / "segments.names").write_text("".join(f"{label}\n" for label in LABELS), "utf-8")
    if not arguments.model_only:
        write_data(arguments.output)
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    found = measure(arguments.output / "segments.onnx", arguments.scenes, arguments.threads)
    print(f"mIoU {found:.4f} on {arguments.scenes} held-out scenes")


if __name__ == "__main__":
    main()
