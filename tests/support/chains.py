# SPDX-License-Identifier: Apache-2.0
"""For tests of whole INT8 builds: a small classifier, one layer of which is hard to quantize, and its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edged.engine.build import build
from edged.engine.manifest import Manifest, decode
from edged.engine.protocol import BuildRequest, Done, Trust
from support.engines import Heard
from support.evaluation import write_images

SPEC = """\
id = "net"
onnx = "net.onnx"
task = "classification"
decoder = "classification"
[input]
size = [32, 48]
[output]
activation = "softmax"
score_threshold = 0.1
"""
LAYERS = ("c0", "hot", "cold", "c3", "head")
HARD = "cold"
"""Reads a tensor of which one channel is far larger than all others."""


def classifier(seed: int = 3, further: int = 0) -> onnx.ModelProto:
    """Five convolutions and any number of further ones before the last, [N, 3, H, W] to [N, 4]."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(1.0, 3e4, 16).reshape(16, 1, 1, 1)
    shapes = {"c0": (16, 3, 3, 3), "hot": (16, 16, 1, 1), "cold": (16, 16, 1, 1), "c3": (16, 16, 1, 1)}
    weights = {name: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape) for name, shape in shapes.items()}
    weights["hot"] = weights["hot"] * spread
    weights["cold"] = weights["cold"] / spread.reshape(1, 16, 1, 1)
    weights["head"] = rng.normal(0, 1, (4, 16, 1, 1))
    names = [*LAYERS[:-1], *(f"further{number}" for number in range(further)), LAYERS[-1]]
    weights |= {name: rng.normal(0, (2 / 16) ** 0.5, (16, 16, 1, 1)) for name in names if name not in weights}
    nodes, value = [], "image"
    for name in names:
        attributes: dict[str, Any] = {"strides": [2, 2]} if name == "c0" else {}
        nodes.append(helper.make_node("Conv", [value, f"{name}.w"], [f"{name}_out"], name=name, **attributes))
        value = f"{name}_out"
        if name != "head":
            nodes.append(helper.make_node("Relu", [value], [f"{name}_act"], name=f"{name}_relu"))
            value = f"{name}_act"
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        # Random weights prefer one class whatever they see: without their usual answer the picture decides.
        helper.make_node("Sub", ["flat", "usual"], ["logits"], name="centre"),
    ]
    constants = [numpy_helper.from_array(one.astype(np.float32), f"{name}.w") for name, one in weights.items()]
    constants.append(numpy_helper.from_array(np.zeros(4, np.float32), "usual"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 48])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "net", [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Rig(NamedTuple):
    """A model and its images.

    Attributes:
        folder: holds all of it.
        spec: the model spec.
        calib: 40 images.
        val: 24 others.
        state: the state folder.
    """

    folder: Path
    spec: Path
    calib: Path
    val: Path
    state: Path

    def request(self, **fields: Any) -> BuildRequest:
        """A build on ONNX Runtime; what `Trust` knows goes there."""
        names = {field.name for field in msgspec.structs.fields(Trust)}
        trust: dict[str, Any] = {"calibrate": (str(self.calib),), "evaluate": (str(self.val),)}
        trust |= {name: value for name, value in fields.items() if name in names}
        rest = {name: value for name, value in fields.items() if name not in names}
        return BuildRequest(
            spec=str(self.spec),
            state_dir=str(self.state),
            timing_cache=str(self.state / "timing.cache"),
            **{"backend": "onnxruntime", "precision": "int8", "trust": Trust(**trust), **rest},
        )

    def build(self, **fields: Any) -> tuple[Done, Manifest, Heard]:
        """Build in this process; the end, the manifest, and what was told."""
        heard = Heard()
        outside = {name: fields.pop(name) for name in ("tensorrt", "race") if name in fields}
        done = build(self.request(**fields), heard, **outside)
        return done, decode((Path(done.folder) / "engine.json").read_bytes()), heard


def write_rig(folder: Path, model: onnx.ModelProto | None = None) -> Rig:
    """Write a model and its images."""
    folder.mkdir(parents=True, exist_ok=True)
    calib = write_images(folder / "calib", 40, seed=1)
    val = write_images(folder / "val", 24, seed=2)
    onnx.save(centred(model or classifier(), calib), folder / "net.onnx")
    (folder / "net.toml").write_text(SPEC)
    return Rig(folder, folder / "net.toml", calib, val, folder / "state")


def centred(model: onnx.ModelProto, images: Path) -> onnx.ModelProto:
    """The model with its usual answer to some images taken off, so that all classes occur; itself if it has none."""
    import cv2
    import onnxruntime

    found = [one for one in model.graph.initializer if one.name == "usual"]
    if not found:
        return model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = []
    for path in sorted(images.iterdir()):
        image = cv2.imread(str(path))
        assert image is not None
        pixels = cv2.resize(image, (48, 32))[..., ::-1].astype(np.float32) / 255
        answers.append(session.run(None, {"image": pixels.transpose(2, 0, 1)[None]})[0][0])
    found[0].CopyFrom(numpy_helper.from_array(np.median(np.array(answers), axis=0).astype(np.float32), "usual"))
    return model
