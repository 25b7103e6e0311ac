# SPDX-License-Identifier: Apache-2.0
"""Train a classifier of handwritten digits, and write digits.onnx, digits.toml, digits.names with their images.

    pip install -e '.[train]'      # torch and scikit-learn, for training only
    python tools/train_digits.py --output out/digits

Two minutes on one CPU core. 700 digits are for training, each drawn anew in every round; the other 1,097 are for
measuring only. Reproducible for one version of PyTorch, machine and number of threads.
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

from tools.models.digits import LABELS, SIDE, SPEC, held_out, picture, split, strokes, write_data
from tools.models.export import export
from tools.models.fit import depthwise, fit
from tools.models.folders import Pixels
from tools.train_shapes import block

BATCH = 64


class Classifier(nn.Module):  # type: ignore[misc]  # PyTorch is optional: to mypy it is Any
    """float32 n x 3 x 32 x 32, red-green-blue, normalised as `SPEC` says → n x 10 scores before the softmax."""

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.begin = nn.Sequential(block(3, first), nn.MaxPool2d(2), depthwise(first, second))
        self.shrink = depthwise(second, third, stride=2)
        self.again = depthwise(third, third)
        self.end = nn.Sequential(nn.MaxPool2d(2), block(third, third), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.score = nn.Linear(third, len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        features = self.shrink(self.begin(images))
        return self.score(self.end(features + self.again(features)))


def as_input(images: list[Pixels]) -> Tensor:
    """Pictures (32 x 32 x 3, blue-green-red) as the model takes them."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].transpose(0, 3, 1, 2).copy())
    return (stacked.float() / 255 - 0.5) / 0.25


def train(steps: int, rate: float, seed: int) -> nn.Module:
    """A trained model."""
    torch.manual_seed(seed)
    images, classes = strokes()
    rows, _ = split()
    truth = torch.from_numpy(classes.astype(np.int64))

    def step_loss(model: nn.Module, step: int) -> Tensor:
        rng = np.random.RandomState([seed, step, len(rows)])
        drawn = rng.choice(rows, BATCH, replace=False)
        batch = as_input([picture(images[row], rng) for row in drawn])
        return functional.cross_entropy(model(batch), truth[drawn], label_smoothing=0.05)

    return fit(Classifier(), step_loss, steps, rate)


def top1(path: Path) -> float:
    """Share of the held-out pictures whose digit an ONNX file finds, 0 to 1."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pictures = list(held_out())
    (scores,) = session.run(None, {"image": as_input([image for image, _ in pictures]).numpy()})
    return float(np.mean(scores.argmax(axis=1) == [class_id for _, class_id in pictures]))


def main(argv: list[str] | None = None) -> None:
    """Train, export and measure as the command line says."""
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument(
        "--output", type=Path, default=Path("out/digits"), help="folder for the model, calib/, val/ and val.csv"
    )
    parser.add_argument("--model-only", action="store_true", help="write no images")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=6e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="more are slower on a busy machine")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    model = train(arguments.steps, arguments.rate, arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    export(model, arguments.output / "digits.onnx", (SIDE, SIDE), (len(LABELS),))
    (arguments.output / "digits.toml").write_text(SPEC, "utf-8")
    (arguments.output / "digits.names").write_text("".join(f"{label}\n" for label in LABELS), "utf-8")
    if not arguments.model_only:
        write_data(arguments.output)
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    print(f"top-1 {top1(arguments.output / 'digits.onnx'):.4f} on held-out pictures")


if __name__ == "__main__":
    main()
