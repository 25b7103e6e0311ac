# SPDX-License-Identifier: Apache-2.0
"""Models to check with: ResNets, plain and with Q/DQ nodes, and one that reads a number out of each frame.

Needs onnx, onnxruntime and numpy only. ResNet-18 comes from PyTorch where that is installed, else its layers are those
of `tools.gpu.networks`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tools.gpu.networks import OPSET, fit_head, resnet18, resnet50, small, written
from tools.gpu.pictures import pictures
from tools.gpu.quantize import as_wanted, normalised, quantized, survey

SIZE = 224
LARGE = 640
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUMBER_SIZE = (64, 96)
PATCH = 8
BASE = 200
MOST = BASE**3
"""Numbers below this can be drawn."""

_SPEC = """\
id = "{id}"
onnx = "{id}.onnx"
task = "{task}"
decoder = "{task}"
[input]
size = [{size}, {size}]
resize = "{resize}"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""
_NUMBER_SPEC = """\
id = "number"
onnx = "number.onnx"
task = "raw"
decoder = "raw"
[input]
size = [64, 96]
color = "bgr"
resize = "stretch"
"""


def export(folder: Path, heads: int = 1000, samples: int = 64) -> dict[str, Any]:
    """Write all models and their specs into a folder.

    Args:
        folder: made if it is not there.
        heads: pictures that ResNet-50 is made to tell apart.
        samples: pictures that give the ranges for INT8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_number(folder)
    results: dict[str, Any] = {"resnet18": _export_resnet18(folder)}
    large = resnet50()
    fit_head(large, _batches(pictures(heads, SIZE, SIZE, seed=1)))
    write(folder, "resnet50", large)
    # The same weights at the size that cameras' pictures come in, with classes instead of bare numbers.
    wide = resnet50(size=LARGE)
    del wide.graph.initializer[:]
    wide.graph.initializer.extend(large.graph.initializer)
    write(folder, "resnet50-640", wide, LARGE, "classification")
    write(folder, "small-640", small(LARGE), LARGE, "classification")
    ranges = normalised(pictures(samples, SIZE, SIZE, seed=2), MEAN, STD)
    for name in ("resnet18", "resnet50"):
        results[f"{name}-int8"] = _export_quantized(folder, name, ranges)
    print(f"exported into {folder}: {sorted(path.stem for path in folder.glob('*.onnx'))}")
    return results


def write(folder: Path, name: str, model: onnx.ModelProto, size: int = SIZE, task: str = "raw") -> None:
    """Write a model and its spec."""
    onnx.save(model, folder / f"{name}.onnx")
    # Pictures of cameras keep their proportions; what is measured against other programs is stretched as they do it.
    resize = "stretch" if task == "raw" else "letterbox"
    text = _SPEC.format(id=name, size=size, task=task, resize=resize)
    if task == "classification":
        text += '[output]\nactivation = "softmax"\npre_nms = 5\nmax_detections = 5\n'
    (folder / f"{name}.toml").write_text(text)


def _export_resnet18(folder: Path) -> dict[str, Any]:
    path, how = folder / "resnet18.onnx", "torch"
    try:
        _from_torch(path)
        model = onnx.load(path)
    except Exception:  # noqa: BLE001 - whatever PyTorch's exporter fails with, there is another way
        traceback.print_exc()
        how, model = "written down", resnet18()
    write(folder, "resnet18", model)
    return {"ok": True, "from": how, "bytes": path.stat().st_size}


def _export_quantized(folder: Path, name: str, ranges: NDArray[np.float32]) -> dict[str, Any]:
    try:
        made = quantized(onnx.load(folder / f"{name}.onnx"), ranges)
    except Exception as error:  # noqa: BLE001 - the other models are there
        traceback.print_exc()
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}
    write(folder, f"{name}-int8", made)
    found = survey(made)
    return {"ok": as_wanted(found), **found}


def _batches(frames: NDArray[np.uint8], size: int = 32) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(frames), size):
        yield normalised(frames[first : first + size], MEAN, STD)


def export_number(folder: Path) -> None:
    """Write the model that reads numbers, and its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(number_model(), folder / "number.onnx")
    (folder / "number.toml").write_text(_NUMBER_SPEC)


def draw(frame: NDArray[np.uint8], number: int) -> None:
    """Draw a number into the first and the last corner of a frame."""
    colour = (number % BASE, number // BASE % BASE, number // BASE**2)
    frame[:PATCH, :PATCH] = colour
    frame[-PATCH:, -PATCH:] = colour


def read(digits: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers out of the model's output ``n×6``: ``n×2``, one for each corner."""
    parts = np.rint(digits).astype(np.int64).reshape(-1, 2, 3)
    numbers: NDArray[np.int64] = parts @ np.array([1, BASE, BASE**2], np.int64)
    return numbers


def number_model() -> onnx.ModelProto:
    """Gives the three digits of each corner's number: [N, 3, 64, 96] to [N, 6]."""
    height, width = NUMBER_SIZE
    corners = {"first": (0, 0), "last": (height - PATCH, width - PATCH)}
    constants = [
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
    ]
    nodes = []
    for name, start in corners.items():
        constants.append(numpy_helper.from_array(np.array(start, np.int64), f"{name}_start"))
        constants.append(numpy_helper.from_array(np.array(start, np.int64) + PATCH, f"{name}_end"))
        nodes.append(helper.make_node("Slice", ["image", f"{name}_start", f"{name}_end", "axes"], [f"{name}_patch"]))
        nodes.append(helper.make_node("ReduceMean", [f"{name}_patch"], [name], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("Concat", list(corners), ["both"], axis=1))
    nodes.append(helper.make_node("Mul", ["both", "full"], ["digits"]))
    return written("number", nodes, constants, ("image", ["n", 3, height, width]), ("digits", ["n", 6]))


def _from_torch(path: Path) -> None:
    import torch
    import torchvision  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        # A few batches give the batch norms sensible statistics, so that activations stay in FP16's range.
        for _ in range(4):
            model(torch.randn(8, 3, SIZE, SIZE))
    model.eval()
    options: dict[str, Any] = {
        "input_names": ["image"],
        "output_names": ["logits"],
        "dynamic_axes": {"image": {0: "n"}, "logits": {0: "n"}},
        "opset_version": OPSET,
    }
    example = torch.randn(2, 3, SIZE, SIZE)
    try:
        torch.onnx.export(model, (example,), str(path), dynamo=False, **options)
    except TypeError:  # versions before 2.5 have but the one exporter
        torch.onnx.export(model, (example,), str(path), **options)
    onnx.checker.check_model(str(path))
