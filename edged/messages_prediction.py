# SPDX-License-Identifier: Apache-2.0
"""Parts of the message ``v1/predictions/<source>/``, see `edged.messages.Prediction`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from edged.messages_stats import Count


class FrameSize(msgspec.Struct, kw_only=True):
    """The source's picture.

    Attributes:
        width: pixels.
        height: pixels.
        file: name of the image, for ``dir://`` sources.
        damaged: true where parts of the picture were lost before it was decoded, in this frame or in one that it builds
            on, so that the decoder made them up; absent otherwise.
    """

    width: Count
    height: Count
    file: str | UnsetType = UNSET
    damaged: bool | UnsetType = UNSET


class Timing(msgspec.Struct, kw_only=True):
    """Where the time went, milliseconds.

    Attributes:
        wait: from capture until the batch was closed.
        copy: gathering or copying the batch to the device.
        infer: the prepared graph, input and output step included.
        postprocess: NMS and geometry.
    """

    wait: float
    copy: float
    infer: float
    postprocess: float


class Dropped(msgspec.Struct, kw_only=True):
    """Frames of this source, since boot, that were taken but not published; the set of reasons may grow.

    Attributes:
        overwritten: a newer frame came before the device was ready for it.
        stale: older than ``max_age_ms``.
        decode_error: the source delivered something that is not a picture.
        failed: lost with a process that died.
        shutdown: still under way when the daemon stopped.
    """

    overwritten: Count = 0
    stale: Count = 0
    decode_error: Count = 0
    failed: Count = 0
    shutdown: Count = 0


class ModelRef(msgspec.Struct, kw_only=True):
    """Which engine computed it.

    Attributes:
        id: the model spec's id.
        engine: key of the engine in the store; digest of the prepared graph where no engine was built.
        backend: ``tensorrt`` or ``onnxruntime``.
        precision: ``int8``, ``fp16``, ``tf32`` or ``fp32``.
    """

    id: str
    engine: str
    backend: str
    precision: str


class Detection(msgspec.Struct, kw_only=True):
    """One detected object.

    Attributes:
        label: class name.
        class_id: class number from 0.
        score: 0 to 1.
        box: x1, y1, x2, y2 in pixels of the source's picture, clipped to it.
    """

    label: str
    class_id: Count
    score: float
    box: tuple[float, float, float, float]


class ClassScore(msgspec.Struct, kw_only=True):
    """One class of a classification, best first."""

    label: str
    class_id: Count
    score: float


class Mask(msgspec.Struct, kw_only=True):
    """A segmentation mask: one class number a cell.

    Attributes:
        blob: index of the blob after the JSON that holds the mask, from 0.
        shape: height, width of the mask's grid (the model's, without padding).
        dtype: always ``uint8``.
        encoding: ``png``.
        box: the part of the source's picture that the grid covers, x1, y1, x2, y2 in its pixels.
    """

    blob: Count
    shape: tuple[int, int]
    dtype: str
    encoding: str
    box: tuple[float, float, float, float]


class Tensor(msgspec.Struct, kw_only=True):
    """One raw output tensor; its blob is C-ordered, little-endian."""

    name: str
    blob: Count
    shape: list[int]
    dtype: str
