# SPDX-License-Identifier: Apache-2.0
"""What a report tells of each engine that was considered."""

from __future__ import annotations

from typing import Literal

import msgspec

Precision = Literal["fp32", "tf32", "fp16", "int8"]


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Median of several rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What the race measured at one batch size.

    Attributes:
        batch: frames in a batch.
        latency_ms: of a batch.
        frames_per_s: of the pipeline.
    """

    batch: int
    latency_ms: Range
    frames_per_s: Range


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How a candidate does on frames that calibration never saw.

    Attributes:
        metric: what the points are: ``AP``, ``top-1``, ``mIoU``, or of which kind the agreement with FP32 is.
        value: points from 0 to 100.
        loss: points lost against FP32; negative where the candidate is better.
        error: standard error of the loss, points; None where it is not known.
    """

    metric: str
    value: float
    loss: float
    error: float | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """GPU memory by kind, bytes; None where it is not known.

    Attributes:
        weights: as long as the engine is loaded.
        activations: of a context, at its largest shapes.
        io: inputs and outputs of all slots.
    """

    weights: int | None = None
    activations: int | None = None
    io: int | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that was considered.

    Attributes:
        precision: its precision.
        name: tells it from others of the same precision.
        timings: one for each batch size that was raced.
        accuracy: None where it was not evaluated.
        memory: None without a GPU.
        int8_share: part of the multiply-adds in INT8, 0 to 1.
        chosen: at most one of a report's is.
        refused_because: a clause; empty where it was merely slower, or chosen.
    """

    precision: Precision
    name: str
    timings: tuple[Timing, ...] = ()
    accuracy: Accuracy | None = None
    memory: Memory | None = None
    int8_share: float | None = None
    chosen: bool = False
    refused_because: str = ""

    def timing(self, batch: int) -> Timing | None:
        """What was measured at a batch size."""
        return next((one for one in self.timings if one.batch == batch), None)
