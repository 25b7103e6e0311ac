# SPDX-License-Identifier: Apache-2.0
"""``engine.json``: what an engine is, what it was made from, and why it was chosen.

Fields are only ever added; readers ignore those that they do not know.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edged.engine.evaluate.result import Evaluation
from edged.engine.key import EngineKey, Precision

SCHEMA: Literal["edged.engine/1"] = "edged.engine/1"


class ShapeSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes that an optimisation profile takes for an input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of the engine.

    Attributes:
        name: in the prepared graph.
        role: which of the two.
        dtype: numpy dtype name.
        shape: −1 where it varies.
        profiles: for inputs of a TensorRT engine, one for each optimisation profile.
    """

    name: str
    role: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...]
    profiles: tuple[ShapeSpan, ...] = ()


class GpuMemory(msgspec.Struct, frozen=True, kw_only=True):
    """GPU memory by kind, bytes; None where it is not known.

    Attributes:
        weights: what the engine keeps as long as it is loaded.
        activations: what each context needs, for each optimisation profile.
        io: inputs and outputs of one slot at the largest shapes.
    """

    weights: int | None = None
    activations: tuple[int, ...] = ()
    io: int | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the user gave, so that a later difference can be named.

    Attributes:
        spec: path of the model spec.
        onnx: path of the ONNX file.
        onnx_sha256: of its content.
        labels_sha256: of the labels file; None without one.
        fields: the model spec without its paths.
        decoder_code: digest of the decoder's code; empty for edged's own.
    """

    spec: str
    onnx: str
    onnx_sha256: str
    labels_sha256: str | None
    fields: dict[str, Any]
    decoder_code: str = ""


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A custom-operator library that the engine needs."""

    path: str
    sha256: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that was considered.

    Attributes:
        precision: its precision.
        accuracy: what was measured on held-out frames, by metric.
        latency_ms: what was measured on the device, by batch size.
        note: why it was taken or left.
        key: of the engine that was built for it; empty where none was.
    """

    precision: Precision
    accuracy: dict[str, float] = {}
    latency_ms: dict[str, float] = {}
    note: str = ""
    key: str = ""


class Int8(msgspec.Struct, frozen=True, kw_only=True):
    """What is INT8 in an engine, and where its ranges come from.

    Attributes:
        share: part of the multiply-adds in INT8, 0 to 1.
        layers: how many are in INT8.
        method: how most ranges were found.
        images: how many they were taken from; 0 where the file brought them.
        calibration: digest of these images and of all else that the ranges depend on; empty likewise.
        recipe: whether all of it was found by another build.
    """

    share: float
    layers: int
    method: str
    images: int = 0
    calibration: str = ""
    recipe: bool = False


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, and why it became this engine."""

    backend_asked: str
    precision_asked: str
    why: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        key: digest of ``fields``, the engine's name in the store.
        fields: all that went into the engine.
        model_id: the spec's id.
        task: what the outputs are.
        decoder: which output step made them.
        file: name of the engine beside this file.
        size: its bytes.
        sha256: of its content.
        tensors: inputs and outputs.
        fixed_batch: the only batch size it takes; None where it takes several.
        max_batch: most frames in a batch; None where there is no limit.
        preprocessing: the spec's input section.
        labels: class names.
        memory: on the GPU.
        layers: of a TensorRT engine, after fusion.
        aux_streams: streams that a context uses beside its own.
        plugins: libraries to load first.
        source: what the user gave.
        versions: of everything that took part.
        device: what it was built on.
        conversions: what had to be changed in the graph for the runtime.
        chosen: why this engine.
        candidates: what else was considered.
        agreement_bound: points of agreement with FP32 (`edged.agreement`, mean of the frames) below which it is not to
            fall in production; None where nothing was measured.
        evaluation: how good it is on frames that calibration never saw; None where it was not evaluated.
        int8: None where nothing of it is, or nobody looked.
        asked: digest of all that the choice was made from: images, labels, settings; empty where nothing was measured.
        built_in_s: how long the build took, seconds.
        created_at: when, Unix seconds.
        schema: of this file.
    """

    key: str
    fields: EngineKey
    model_id: str
    task: str
    decoder: str
    file: str
    size: int
    sha256: str
    tensors: tuple[Tensor, ...]
    fixed_batch: int | None
    max_batch: int | None
    preprocessing: dict[str, Any]
    labels: tuple[str, ...]
    memory: GpuMemory
    layers: int | None = None
    aux_streams: int = 0
    plugins: tuple[Plugin, ...] = ()
    source: Source
    versions: dict[str, str]
    device: dict[str, str] = {}
    conversions: tuple[str, ...] = ()
    chosen: Choice
    candidates: tuple[Candidate, ...] = ()
    agreement_bound: float | None = None
    evaluation: Evaluation | None = None
    int8: Int8 | None = None
    asked: str = ""
    built_in_s: float
    created_at: float
    schema: Literal["edged.engine/1"] = SCHEMA


def encode(manifest: Manifest) -> bytes:
    """The file's content: JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes) -> Manifest:
    """Read a file's content.

    Raises:
        ValueError: it is not a manifest, or its key does not fit its fields (`msgspec.DecodeError` is one too).
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if manifest.fields.digest() != manifest.key:
        raise ValueError("the key does not fit the fields")
    return manifest
