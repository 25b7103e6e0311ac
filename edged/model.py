# SPDX-License-Identifier: Apache-2.0
"""The model spec: what goes into a model, what comes out, and how to read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

Task = Literal["classification", "detection", "segmentation", "raw"]
Extent = Annotated[int, Field(ge=1, le=16384)]
HeightWidth = Annotated[list[Extent], Field(min_length=2, max_length=2)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
LoosePath = Annotated[Path, Strict(False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DynamicSize(_Section):
    """An input size that follows the source's aspect ratio.

    Attributes:
        min: smallest height, width in pixels.
        opt: the size engines are tuned for, height, width in pixels.
        max: largest height, width in pixels.
        multiple: height and width are multiples of this many pixels.
    """

    min: HeightWidth
    opt: HeightWidth
    max: HeightWidth
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> DynamicSize:
        for low, mid, high in zip(self.min, self.opt, self.max, strict=True):
            if not low <= mid <= high:
                raise ValueError("min <= opt <= max must hold for height and width")
            if -(-low // self.multiple) * self.multiple > high:
                raise ValueError(f"no multiple of {self.multiple} lies between min and max")
        return self


class InputSpec(_Section):
    """What the model wants to see.

    ``value = (pixel / scale - mean) / std`` per channel, in the order given by ``color``.
    """

    size: HeightWidth | DynamicSize
    color: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["letterbox", "stretch", "center-crop"] = "letterbox"
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    align: Literal["center", "top-left"] = "center"
    interpolation: Literal["linear", "cubic", "area"] = "linear"
    scale: Annotated[float, Field(gt=0)] = 255.0
    mean: Triple = [0.0, 0.0, 0.0]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] = [1.0, 1.0, 1.0]


class OutputSpec(_Section):
    """How the outputs are read."""

    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    iou_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    pre_nms: Annotated[int, Field(ge=1, le=3840)] = 1000
    max_detections: Annotated[int, Field(ge=1, le=10000)] = 100
    activation: Literal["none", "sigmoid", "softmax"] = "none"


class ModelSpec(_Section):
    """A model spec as loaded; paths are absolute."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    onnx: LoosePath
    task: Task
    decoder: Annotated[str, Field(min_length=1)]
    labels: LoosePath | None = None
    input: InputSpec
    output: OutputSpec = OutputSpec()

    def digest_fields(self) -> dict[str, Any]:
        """The fields that decide what the prepared graph computes, without paths."""
        return self.model_dump(mode="json", exclude={"onnx": True, "labels": True, "output": self.live_fields()})

    def live_fields(self) -> set[str]:
        """Keys of ``[output]`` that are applied to what the graph yields: they may change while an engine runs."""
        found = {"score_threshold", "iou_threshold"}
        # Of a classification the graph itself takes so many classes.
        return found if self.task == "classification" else found | {"max_detections"}
