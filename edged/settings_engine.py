# SPDX-License-Identifier: Apache-2.0
"""The sections ``[engine]`` and ``[build]`` of the settings, see `edged.settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from edged.problems import OWN_ERROR
from edged.settings_base import BatchSize, LoosePath, Section, Text


def _ordered(value: tuple[int, int, int]) -> tuple[int, int, int]:
    if not value[0] <= value[1] <= value[2]:
        raise ValueError("a profile is [min, opt, max] with min <= opt <= max")
    return value


def _no_more_than_slots(value: int, info: ValidationInfo) -> int:
    slots = info.data.get("slots", value)  # absent where it was refused itself
    if value > slots:
        context = {"contexts": value, "slots": slots}
        raise PydanticCustomError(
            OWN_ERROR, "{contexts} contexts have no more than the work of {slots} slot(s); raise engine.slots", context
        )
    return value


class EngineSettings(Section):
    """How the model runs."""

    backend: Annotated[
        Literal["auto", "tensorrt", "onnxruntime"],
        Field(description="auto: TensorRT where there is a GPU and a built engine, else ONNX Runtime."),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "int8", "fp16", "tf32", "fp32"],
        Field(description="auto: what the build chose; fp32 on ONNX Runtime without a built engine."),
    ] = "auto"
    device: Annotated[int, Field(ge=0, le=63, description="GPU index.")] = 0
    max_batch: Annotated[
        BatchSize | None,
        Field(description="Most frames in a batch. Default: 8 on TensorRT; on ONNX Runtime the fastest at warm-up."),
    ] = None
    max_delay_ms: Annotated[
        Annotated[float, Field(ge=0.0, le=10_000.0)] | None,
        Field(description="Longest a frame waits for company, ms. Default: 4, or 0 where max_batch is 1."),
    ] = None
    slots: Annotated[int, Field(ge=1, le=8, description="Batches in flight; 2 = double-buffered.")] = 2
    contexts: Annotated[
        int,
        Field(ge=1, le=8, description="Batches that TensorRT computes side by side, each with its activation memory."),
        AfterValidator(_no_more_than_slots),
    ] = 1
    io: Annotated[Literal["auto", "copy", "mapped", "staged"], Field(description="How frames reach the GPU.")] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024, description="Threads of ONNX Runtime; 0 = all cores.")] = 0
    build: Annotated[
        Literal["never", "on-start", "serve-while-building"], Field(description="What to do without a valid engine.")
    ] = "never"


Profile = Annotated[tuple[BatchSize, BatchSize, BatchSize], AfterValidator(_ordered)]


class BuildSettings(Section):
    """What edged-build-engine does; its command line overrides."""

    profiles: Annotated[
        tuple[Profile, ...],
        Field(min_length=1, description="Batch min, opt, max of each optimization profile."),
    ] = ((1, 4, 8),)
    workspace_mb: Annotated[int, Field(ge=16, le=1 << 20, description="GPU memory the builder may use, MiB.")] = 1024
    optimization_level: Annotated[int, Field(ge=0, le=5, description="Effort of the builder.")] = 3
    aux_streams: Annotated[
        Annotated[int, Field(ge=0, le=64)] | None,
        Field(description="Streams beside the main one. Default: TensorRT's choice, or 0 with several contexts."),
    ] = None
    calibrator: Annotated[
        Literal["search", "minmax", "entropy", "percentile"],
        Field(description="How INT8 ranges are found; search tries all."),
    ] = "search"
    search: Annotated[bool, Field(description="Give layers back to FP16 until the bound holds.")] = True
    bound: Annotated[
        float, Field(ge=0.0, le=100.0, description="Accuracy INT8 may lose: points of mAP, top-1, mIoU.")
    ] = 1.0
    keep_float: Annotated[tuple[Text, ...], Field(description="Layer-name globs that are never quantized.")] = ()
    plugins: Annotated[tuple[LoosePath, ...], Field(description="Custom-operator libraries to load.")] = ()
