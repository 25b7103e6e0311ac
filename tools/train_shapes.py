# SPDX-License-Identifier: Apache-2.0
"""Train the detector of the synthetic shapes that ships with edged, and write shapes.onnx, shapes.toml, shapes.names.

    pip install -e '.[train]'      # torch, for training only
    python tools/train_shapes.py --output edged/assets

About ten minutes on one CPU core. Scenes of seeds from 10 000 on are for training (11 199 is the last with the default
`--scenes`), 5 000 to 5 999 for measuring (`tools/evaluate_shapes.py`, run at the end). Reproducible for one version of
PyTorch, machine and number of threads.

The network is a small fully convolutional, anchor-free detector with two levels (strides 8 and 16). For each cell it
predicts the distances from the cell's centre to the four sides of a box, and one probability a class. Boxes are decoded
inside the graph. Cells are assigned to truth boxes by how well they already predict them (task-aligned assignment).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edged.stages.capture.shapes import LABELS, ShapesScene
from tools.evaluate_shapes import letterbox, report
from tools.models.export import clean

FIRST_TRAINING_SEED = 10_000
SIZE = (240, 320)
STRIDES = (8, 16)
MOST_SHAPES = 7
# Frame sizes seen in training, with their share: an exact fit, letterboxed wide ones, no scaling at all, upright.
FRAME_SIZES = {(640, 480): 0.5, (960, 540): 0.2, (320, 240): 0.15, (1280, 720): 0.1, (480, 640): 0.05}
CANDIDATES = 7  # cells assigned to one truth box at most

SPEC = """\
# The detector of synthetic shapes that ships with edged. Made by tools/train_shapes.py.
id = "shapes"
onnx = "shapes.onnx"
task = "detection"
decoder = "yolov8"
labels = "shapes.names"

[input]
size = [240, 320]
color = "rgb"
resize = "letterbox"
pad = 114
align = "center"
interpolation = "linear"
scale = 255.0
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]

[output]
score_threshold = 0.4
iou_threshold = 0.5
pre_nms = 300
max_detections = 100
activation = "none"
"""


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    """Convolution, normalisation and ReLU; the first two become one when exported."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Module):  # type: ignore[misc]  # PyTorch is optional: to mypy it is Any
    """float32 n x 3 x 240 x 320, red-green-blue, 0 … 1 → n x (4 + classes) x 1500 (see `forward`)."""

    def __init__(self, widths: tuple[int, int, int] = (24, 32, 48)) -> None:
        super().__init__()
        first, fine, coarse = widths
        self.fine = nn.Sequential(block(3, first, 6, 4, 1), block(first, fine, stride=2), block(fine, fine))
        self.coarse = nn.Sequential(block(fine, coarse, stride=2), block(coarse, coarse), block(coarse, coarse))
        self.lateral = block(coarse, fine, 1, padding=0)
        self.merge = block(fine, fine)
        self.heads = nn.ModuleList([nn.Conv2d(width, 4 + len(LABELS), 1) for width in (fine, coarse)])
        for head in self.heads:
            bias = head.bias
            assert isinstance(bias, nn.Parameter)
            nn.init.constant_(bias[:4], 2.0)  # sides start two cells away: never at the flat part of the ReLU
            nn.init.constant_(bias[4:], -4.0)  # most cells are empty
        points, strides = grid()
        self.register_buffer("points", points.T[None], persistent=False)
        self.register_buffer("strides", strides[None, None], persistent=False)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n x 4 x cells: cx, cy, w, h in input pixels) and logits (n x classes x cells)."""
        fine = self.fine(images)
        coarse = self.coarse(fine)
        fine = self.merge(fine + functional.interpolate(self.lateral(coarse), scale_factor=2.0, mode="nearest"))
        maps = [head(features) for head, features in zip(self.heads, (fine, coarse), strict=True)]
        cells = [SIZE[0] * SIZE[1] // stride**2 for stride in STRIDES]
        flat = torch.cat([m.reshape(-1, 4 + len(LABELS), n) for m, n in zip(maps, cells, strict=True)], 2)
        before, after = torch.relu(flat[:, 0:2]) * self.strides, torch.relu(flat[:, 2:4]) * self.strides
        boxes = torch.cat([self.points + (after - before) * 0.5, before + after], 1)
        return boxes, flat[:, 4:]

    def forward(self, images: Tensor) -> Tensor:
        """n x (4 + classes) x cells: centre and size of the box in input pixels, then a probability a class."""
        boxes, logits = self.raw(images)
        return torch.cat([boxes, torch.sigmoid(logits)], 1)


def grid() -> tuple[Tensor, Tensor]:
    """Centres of all cells (cells x 2: x, y) and their strides (cells), in input pixels."""
    points, strides = [], []
    for stride in STRIDES:
        ys, xs = torch.meshgrid(torch.arange(SIZE[0] // stride), torch.arange(SIZE[1] // stride), indexing="ij")
        points.append((torch.stack([xs, ys], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(strides)


def dataset(scenes: int, frames: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images (n x 240 x 320 x 3, red-green-blue) and truth (n x 7 x 5: class, x1, y1, x2, y2; class -1: none)."""
    rng = np.random.RandomState(seed)
    images = np.empty((scenes * frames, *SIZE, 3), np.uint8)
    truths = np.full((scenes * frames, MOST_SHAPES, 5), -1, np.float32)
    sizes = list(FRAME_SIZES)
    for number in range(scenes):
        size = sizes[rng.choice(len(sizes), p=list(FRAME_SIZES.values()))]
        scene = ShapesScene(FIRST_TRAINING_SEED + number, *size)
        for k, index in enumerate(rng.randint(0, 3000, size=frames)):
            image, factor, (x, y) = letterbox(scene.render(int(index)), SIZE)
            row = number * frames + k
            images[row] = image[..., ::-1]
            for n, shape in enumerate(scene.truth(int(index))):
                box = np.array(shape.box) * factor + (x, y, x, y)
                truths[row, n] = (shape.class_id, *box)
    return images, truths


def augment(images: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the batches mirrored left to right, half upside down, with other brightness and colours."""
    truths = truths.clone()
    if torch.rand(()) < 0.5:
        images, truths[..., [1, 3]] = images.flip(3), SIZE[1] - truths[..., [3, 1]]
    if torch.rand(()) < 0.5:
        images, truths[..., [2, 4]] = images.flip(2), SIZE[0] - truths[..., [4, 2]]
    images = images[:, torch.randperm(3)] if torch.rand(()) < 0.3 else images
    gain = 0.8 + 0.4 * torch.rand(len(images), 1, 1, 1)
    return (images * gain).clamp(0, 1), truths


def to_corners(boxes: Tensor) -> Tensor:
    """n x 4 x cells, centre and size → n x cells x 4, corners."""
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([center - half, center + half], 1).transpose(1, 2)


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes (… x 4, corners), which broadcast."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    union = (areas - common).clamp(min=1e-6)
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).prod(-1).clamp(min=1e-6)
    iou = common / union
    return iou, iou - (hull - union) / hull


def assign(corners: Tensor, logits: Tensor, truths: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Which truth each cell stands for (n x cells, -1: none) and the score it shall give (n x cells)."""
    classes, boxes = truths[..., 0].long(), truths[..., 1:]
    iou, _ = overlap(boxes[:, :, None], corners[:, None])  # n x truths x cells
    scores = logits.sigmoid().gather(1, classes.clamp(min=0)[..., None].expand(-1, -1, logits.shape[2]))
    inside = ((points > boxes[:, :, None, :2]) & (points < boxes[:, :, None, 2:])).all(-1) & (classes >= 0)[..., None]
    metric = torch.where(inside, (scores + 1e-3).sqrt() * iou.clamp(min=1e-3) ** 4, 0.0)
    best = metric.topk(CANDIDATES, dim=2)
    chosen = torch.zeros_like(metric).scatter(2, best.indices, best.values)
    # A cell that several truths want goes to the one that it overlaps most.
    owner = torch.where(chosen > 0, iou + 1e-6, 0.0).argmax(1, keepdim=True)
    chosen = torch.zeros_like(chosen).scatter(1, owner, chosen.gather(1, owner))
    peak = chosen.amax(2, keepdim=True).clamp(min=1e-9)
    best_iou = torch.where(chosen > 0, iou, 0.0).amax(2, keepdim=True)
    target = (chosen / peak * best_iou).amax(1)
    return torch.where(chosen.amax(1) > 0, owner[:, 0], -1), target


def loss_of(model: Detector, images: Tensor, truths: Tensor, points: Tensor) -> Tensor:
    """Classification against the overlap that a cell reaches, plus the overlap itself."""
    boxes, logits = model.raw(images)
    corners = to_corners(boxes)
    with torch.no_grad():
        owner, target = assign(corners, logits, truths, points)
    own = truths.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, 5))  # n x cells x 5
    classes = functional.one_hot(own[..., 0].long().clamp(min=0), len(LABELS)).to(target.dtype)
    wanted = (classes * (target * (owner >= 0))[..., None]).transpose(1, 2)
    total = wanted.sum().clamp(min=1.0)
    # Confident wrong cells count fully, empty cells that are nearly right hardly at all.
    weight = torch.where(wanted > 0, 1.0, 0.75 * logits.detach().sigmoid() ** 1.5 + 0.02)
    scores = functional.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    held = owner >= 0
    _, generalised = overlap(corners[held], own[..., 1:][held])
    return scores / total + 2.0 * ((1 - generalised) * target[held]).sum() / total


def train(arguments: argparse.Namespace) -> Detector:
    """The averaged weights of a training run of `--minutes` at most."""
    torch.manual_seed(arguments.seed)
    start = time.monotonic()
    images, truths = dataset(arguments.scenes, arguments.frames, arguments.seed)
    print(f"{len(images)} frames of {arguments.scenes} scenes, {time.monotonic() - start:.0f} s")
    # With the channels last, convolutions of few channels cost a third less on CPUs.
    model = Detector().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.rate, arguments.steps, pct_start=0.1)
    points, _ = grid()
    for step in range(arguments.steps):
        rows = torch.randint(len(images), (arguments.batch,)).numpy()
        batch = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255
        loss = loss_of(model, *augment(batch, torch.from_numpy(truths[rows])), points)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        if step % 100 == 0:
            print(
                f"step {step}/{arguments.steps}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s", flush=True
            )
    result: Detector = average.module.to(memory_format=torch.contiguous_format).eval()
    return result


def export(model: Detector, path: Path) -> None:
    """Write the model as ONNX: a static graph but for the batch, without traces of where it was made."""
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, *SIZE),),
        path,
        input_names=["images"],
        output_names=["output"],
        dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    network = onnx.load(path)
    cells = sum(SIZE[0] * SIZE[1] // stride**2 for stride in STRIDES)
    clean(network, "shapes", (4 + len(LABELS), cells))
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, path)


def main() -> None:
    """Train, export and measure as the command line says."""
    parser = argparse.ArgumentParser(description="Train the detector of synthetic shapes.")
    parser.add_argument("--output", type=Path, required=True, help="folder for shapes.onnx, .toml and .names")
    parser.add_argument("--scenes", type=int, default=1200, help="training scenes")
    parser.add_argument("--frames", type=int, default=5, help="frames of each scene")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    model = train(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    export(model, arguments.output / "shapes.onnx")
    (arguments.output / "shapes.toml").write_text(SPEC, "utf-8")
    (arguments.output / "shapes.names").write_text("".join(f"{label}\n" for label in LABELS), "utf-8")
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    report(arguments.output / "shapes.toml", scenes=250, frames=4, threads=2)


if __name__ == "__main__":
    main()
