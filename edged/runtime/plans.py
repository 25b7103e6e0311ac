# SPDX-License-Identifier: Apache-2.0
"""What the supervisor tells its children: plain structures that travel over the control channel as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from edged.messages import ModelRef
from edged.records import TensorSpec


class EngineWish(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of the engine."""

    backend: str
    precision: str
    device: int
    max_batch: int | None


class ChosenEngine(msgspec.Struct, frozen=True, kw_only=True):
    """What runs.

    Attributes:
        backend: ``tensorrt`` or ``onnxruntime``.
        precision: of the engine.
        key: of the engine in the store; digest of the prepared graph where none was built.
        path: the file to load.
        max_batch: most frames in a batch that it takes; None where there is no limit.
        plugins: custom-operator libraries that it needs.
        note: what the user should know of the choice; empty if nothing.
        agreement_bound: points of agreement with FP32 below which it is not to fall; None where nothing was measured.
    """

    backend: str
    precision: str
    key: str
    path: str
    max_batch: int | None
    plugins: tuple[str, ...] = ()
    note: str = ""
    agreement_bound: float | None = None


class PreparePlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the prepare child.

    Attributes:
        spec: path of the model spec.
        state_dir: where prepared graphs and engines lie.
        engine: what the settings say of the engine.
        threads: threads of one run of ONNX Runtime, 0 for as many as there are cores for.
        parallel: how many batches it will run at a time.
        measure: whether to measure the best batch size.
        fall_back: without the engine that is asked for, take one that serves until it is built.
        key: of the engine to take, whatever else is asked for; empty for none in particular.
    """

    spec: str
    state_dir: str
    engine: EngineWish
    threads: int
    parallel: int
    measure: bool
    fall_back: bool = False
    key: str = ""


class CapturePlan(msgspec.Struct, frozen=True, kw_only=True):
    """For a capture process; descriptors: frame ring, wake infer, space, board, and a sample where one is wanted.

    Attributes:
        uri: with its credentials: never log it.
        fps: upper bound of the rate, or None.
        repeat: start again at the end.
        decode: ``auto``, ``software`` or ``hardware``.
        fit: how pictures are fitted, see `edged.stages.capture.fit.FitPlan`.
        skip: pictures to pass over first: those that were taken before the process was replaced.
        row: row of the board.
        profile: name the stages for Nsight Systems.
        verify_every: copy one frame in so many into the sample; 0 for none.
        view: what the model gets to see, see `edged.stages.capture.crop.ViewPlan`.
        read_s: how long to wait for a frame before giving up, where the kind of source lets one choose; seconds.
    """

    uri: str
    fps: float | None
    repeat: bool
    decode: str
    fit: dict[str, object]
    skip: int
    row: int
    profile: bool = False
    verify_every: int = 0
    view: dict[str, object] = {}
    read_s: float = 10.0


class SourcePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One source for infer (descriptors: frame ring, space) or publish (frame ring, sample where there is one).

    Attributes:
        name: in topics.
        max_age_ns: age limit; None for lossless sources.
        priority: higher first.
        seat: what infer and publish call it.
    """

    name: str
    max_age_ns: int | None
    priority: int
    seat: int = 0


class OutputPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Layout of the output ring."""

    slots: int
    max_batch: int
    tensors: tuple[TensorSpec, ...]


class InferPlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the infer process; descriptors: output ring, wake infer, wake publish, board; then one message a source.

    Attributes:
        engine: what to run.
        device: GPU index.
        io: how frames reach the GPU.
        outputs: layout of the output ring.
        slots: pipeline slots.
        threads: threads of one run of ONNX Runtime, 0 for as many as there are cores for.
        parallel: how many batches ONNX Runtime runs at a time.
        max_delay_ns: longest a frame waits for company.
        fixed_batch: the only batch size that the model takes, or None.
        warm_up: height, width of the warm-up inference.
        sources: how many source messages follow.
        contexts: batches that TensorRT computes side by side.
        profile: name the stages for Nsight Systems.
        max_batch: frames of a batch at the most; 0 for what the output ring holds.
        generation: which of the daemon's engines this is, see `edged.shm.output_table.OutputTable`.
        candidate: whether to load and wait: another process infers, and hands over if this one proves good.
    """

    engine: ChosenEngine
    device: int
    io: str
    outputs: OutputPlan
    slots: int
    threads: int
    parallel: int
    max_delay_ns: int
    fixed_batch: int | None
    warm_up: list[int]
    sources: int
    contexts: int = 1
    profile: bool = False
    max_batch: int = 0
    generation: int = 0
    candidate: bool = False


class PublishPlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the publish process; descriptors: output ring, wake infer, wake publish, board, and wake verify where there
    is a verify process; then one message a source. ``generation`` is the engine's that ``model`` tells of; of others
    there are messages."""

    bind: list[str]
    device: str
    boot: str
    model: ModelRef
    task: str
    outputs: OutputPlan
    postprocess: dict[str, object]
    curve: dict[str, str] | None
    sources: int
    profile: bool = False
    generation: int = 0


class VerifyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the verify process; descriptors: wake verify, board; then one message a source, with its sample.

    Attributes:
        reference: path of the prepared graph, in FP32.
        libraries: of custom operators that it needs.
        tensors: its outputs.
        postprocess: as publish's.
        fixed_batch: the only batch size that the model takes, or None.
        row: row of the board.
        sources: how many source messages follow.
    """

    reference: str
    libraries: tuple[str, ...]
    tensors: tuple[TensorSpec, ...]
    postprocess: dict[str, object]
    fixed_batch: int | None
    row: int
    sources: int


class JudgePlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the judge of a new engine; descriptors: both samples, its wake-up, the candidate's.

    Attributes:
        tensors: the prepared graph's outputs.
        postprocess: as publish's.
    """

    tensors: tuple[TensorSpec, ...]
    postprocess: dict[str, object]


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """For the process that has an engine built while the daemon serves.

    Attributes:
        request: see `edged.engine.protocol.BuildRequest`.
    """

    request: dict[str, object]


def plain(plan: msgspec.Struct) -> dict[str, Any]:
    """A plan as plain values, as it travels."""
    values: dict[str, Any] = msgspec.to_builtins(plan)
    return values
