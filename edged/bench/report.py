# SPDX-License-Identifier: Apache-2.0
"""What ``edged bench --json`` writes: schema ``edged.bench/1``. Within version 1 fields are only ever added.

Durations are milliseconds where the name ends in ``_ms``, rates are frames a second, memory is bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edged.bench.report_daemon import DaemonRun
from edged.bench.report_sustained import SustainedRun
from edged.rig.figures import Distribution, Spread

SCHEMA: Literal["edged.bench/1"] = "edged.bench/1"
LevelName = Literal["engine", "engine-eager", "pipeline", "pipeline-single", "daemon"]
Bound = Literal["capture", "copy", "launch", "compute", "publish", "unclear"]


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One level at one batch size.

    Attributes:
        level: ``engine`` (alone, with a CUDA graph where there is one), ``engine-eager`` (the same without a graph),
            ``pipeline`` (all slots busy), ``pipeline-single`` (one batch at a time).
        batch: frames in a batch.
        slots: batches under way at a time.
        profile: optimisation profile of the engine; None where it has none, or the pipeline chooses.
        frames_per_s: of each round.
        latency_ms: of a batch. engine: from one completion to the next with work queued, on the GPU's clock (ONNX
            Runtime: of one run); pipeline: from submission to delivery.
        stages_ms: median of a batch's stages: ``submit`` and ``deliver`` (host), ``copy`` and ``infer`` (device).
        batches: how many were counted.
    """

    level: LevelName
    batch: int
    slots: int
    profile: int | None
    frames_per_s: Spread
    latency_ms: Distribution
    stages_ms: dict[str, float]
    batches: int


class Efficiency(msgspec.Struct, frozen=True, kw_only=True):
    """Pipeline divided by engine alone, frames a second, round by round."""

    batch: int
    ratio: Spread


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest batch with at least 95 % of the best frames a second.

    Attributes:
        level: what it was read from.
        batch: that size.
        frames_per_s: its median.
        best_batch: the size with the most frames a second.
        best_frames_per_s: its median.
    """

    level: LevelName
    batch: int
    frames_per_s: float
    best_batch: int
    best_frames_per_s: float


class SlotRun(msgspec.Struct, frozen=True, kw_only=True):
    """The pipeline with another number of slots."""

    slots: int
    batch: int
    frames_per_s: Spread
    latency_ms: Distribution


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """GPU memory of an executor by kind, bytes; None where it is not known.

    Attributes:
        weights: what the engine keeps as long as it is loaded.
        activations: what its contexts share or have each, the layers' workspace included.
        workspace_limit: what a layer was allowed when the engine was built.
        buffers: inputs and outputs of all slots on the device.
        taken: what the device has less of since before the engine was loaded.
        other: the rest: contexts, graphs, kernels.
        page_locked: rings on the host that the GPU reads and writes.
    """

    weights: int | None
    activations: int | None
    workspace_limit: int | None
    buffers: int
    taken: int | None
    other: int | None
    page_locked: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What holds the pipeline back.

    Attributes:
        bound: by what.
        sentence: the same in words.
        evidence: figures behind it.
    """

    bound: Bound
    sentence: str
    evidence: tuple[str, ...]


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """A setting worth having, and why."""

    key: str
    value: int
    why: str


class Contestant(msgspec.Struct, kw_only=True):
    """One engine in one configuration, with everything that was measured of it.

    Attributes:
        label: short, unique in a report.
        engine: key in the store; digest of the prepared graph where no engine was built.
        frame: height, width of the frames, pixels.
        threads: of a run of ONNX Runtime; 0 on a GPU.
        parallel: runs of ONNX Runtime at a time.
        max_batch: the largest batch that a daemon with these settings makes.
        io: how frames get to the device.
        profiles: batch sizes and frame sizes of each optimisation profile.
        sustained: the daemon at full load over minutes.
        layers: as `edged.bench.layers.LayerReport.as_json` gives it.
        notes: what to know of the figures.
    """

    label: str
    spec: str
    model_id: str
    backend: str
    precision: str
    engine: str
    runtime: str
    device: str
    frame: tuple[int, int]
    slots: int
    contexts: int
    threads: int
    parallel: int
    max_batch: int
    io: str = ""
    profiles: tuple[str, ...] = ()
    measurements: list[Measurement] = []
    efficiency: list[Efficiency] = []
    saturation: Saturation | None = None
    slot_runs: list[SlotRun] = []
    memory: Memory | None = None
    daemon: DaemonRun | None = None
    sustained: SustainedRun | None = None
    verdict: Verdict | None = None
    advice: list[Advice] = []
    layers: dict[str, Any] | None = None
    notes: list[str] = []

    def found(self, level: LevelName, batch: int) -> Measurement | None:
        """What was measured at a level and batch size, with the profile that a pipeline would choose."""
        at = [it for it in self.measurements if it.level == level and it.batch == batch]
        return at[0] if at else None

    def batches(self, level: LevelName) -> list[int]:
        """Batch sizes measured at a level."""
        return sorted({it.batch for it in self.measurements if it.level == level})


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Another contestant against the first, frames a second, round by round.

    Attributes:
        level: what is compared.
        batch: its size.
        label: the other one.
        ratio: other divided by first.
        winner: label of the faster one; None where no difference shows beyond the spread.
        sentence: the same in words.
    """

    level: LevelName
    batch: int
    label: str
    ratio: Spread
    winner: str | None
    sentence: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it was measured: levels, batch sizes, rounds, seconds of a turn, and of the warm-up before the first.

    Attributes:
        what: levels; ``sustained`` alone where the daemon was loaded for ``sustained_s`` seconds instead.
    """

    what: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up_s: float
    sustained_s: float = 0.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured; ``load_before`` is the load average of the last minute."""

    system: str
    architecture: str
    cores: int
    python: str
    load_before: float


class Report(msgspec.Struct, kw_only=True):
    """Everything.

    Attributes:
        edged: version.
        started_at: Unix seconds.
        complete: False where it was interrupted.
        missed: checks (``--check-…``) that were not met, in words.
    """

    edged: str
    started_at: float
    machine: Machine
    options: Options
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    complete: bool = False
    missed: list[str] = []
    notes: list[str] = []
    schema: Literal["edged.bench/1"] = SCHEMA
