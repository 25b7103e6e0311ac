# SPDX-License-Identifier: Apache-2.0
"""All that a report tells: plain values, filled in by the chain that builds an engine. What is missing is left out."""

from __future__ import annotations

from typing import Literal

import msgspec

from edged.engine.report.candidate import Candidate, Precision

State = Literal["pass", "warn", "not measured"]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A quantization plan that repair evaluated.

    Attributes:
        share: part of the multiply-adds in INT8, 0 to 1.
        loss: points lost against FP32.
        error: standard error of the loss.
        step: what was tried, in words.
        chosen: whether it became the INT8 candidate.
    """

    share: float
    loss: float
    error: float | None = None
    step: str = ""
    chosen: bool = False


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that could be quantized.

    Attributes:
        name: in the graph.
        operator: its type.
        error: squared distance at the output when it is the only one in INT8, in any unit, the same for all layers;
            None where it was not measured.
        share: its part of the multiply-adds, 0 to 1.
        precision: in the plan.
        why: why it stays in float, or went to INT8.
    """

    name: str
    operator: str
    error: float | None
    share: float
    precision: Precision
    why: str = ""


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a tensor is clipped by its INT8 range.

    Attributes:
        tensor: its name.
        share: part of its values beyond the threshold, 0 to 1.
        threshold: largest value that INT8 can hold.
        largest: largest absolute value that calibration saw.
    """

    tensor: str
    share: float
    threshold: float
    largest: float


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of FP32 and of the chosen engine.

    Attributes:
        reference: counts of FP32's scores in equal bins from 0 to 1.
        value: likewise of the chosen engine.
        shift: mean difference of the same findings' scores, chosen minus FP32, -1 to 1.
        p5: its 5th percentile.
        p95: its 95th percentile.
    """

    reference: tuple[int, ...]
    value: tuple[int, ...]
    shift: float | None = None
    p5: float | None = None
    p95: float | None = None


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """The metric of one class, points: of FP32 and of the chosen engine."""

    name: str
    reference: float
    value: float


class WorstFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame on which the chosen engine and FP32 differ much.

    Attributes:
        name: ``folder/file``.
        difference: how much, in words.
        reference: PNG of what FP32 saw; None where there is none.
        value: PNG of what the chosen engine saw.
    """

    name: str
    difference: str = ""
    reference: bytes | None = None
    value: bytes | None = None


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of images, and how many of them were used."""

    name: str
    images: int


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the INT8 ranges were read from.

    Attributes:
        folders: each with the images taken from it.
        method: how thresholds were found.
        warnings: what the user should know, a sentence each.
    """

    folders: tuple[Folder, ...]
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """In all."""
        return sum(folder.images for folder in self.folders)


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What accuracy was measured on.

    Attributes:
        kind: ``labels``: held against the truth; ``agreement``: against FP32.
        images: how many frames.
        labels: boxes, classes or pixels of the truth; 0 without.
        folders: where the frames come from.
        overlap: what the search for calibration images among them found, in words; empty where there was none.
        notes: what the user should know, a sentence each.
    """

    kind: Literal["labels", "agreement"]
    images: int
    labels: int = 0
    folders: tuple[Folder, ...] = ()
    overlap: str = ""
    notes: tuple[str, ...] = ()


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine was built and raced on.

    Attributes:
        name: of the GPU or the CPU.
        backend: ``tensorrt`` or ``onnxruntime``.
        runtime: with its version.
        driver: with its version; empty without a GPU.
        facts: what else is known, by name: power mode, compute capability, cores.
    """

    name: str
    backend: str
    runtime: str
    driver: str = ""
    facts: dict[str, str] = {}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the deployment checklist.

    Attributes:
        name: what is to be shown.
        state: whether it is.
        evidence: by what, or how to show it.
    """

    name: str
    state: State
    evidence: str


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """Everything.

    Attributes:
        model_id: the spec's id.
        task: what the outputs are.
        frame: height, width of the model's input, pixels; None where it varies.
        asked: the precision asked for.
        bound: most points that may be lost.
        batch: frames in a batch as configured.
        created_at: Unix seconds.
        device: see `Device`.
        versions: of everything that took part, by name.
        candidates: all that was considered.
        curve: of the search for an INT8 plan, in order.
        layers: in any order.
        saturation: in any order.
        scores: None where the task has none.
        classes: in the order of the labels.
        worst: worst first.
        calibration: None where nothing was calibrated.
        evaluation: None where nothing was evaluated.
        why: further reasons for the choice, a sentence each.
        would_hold: what would stay within the bound where INT8 was refused; empty if nothing is known.
        recipe: where the choice was made, if not here.
        sustained: a later measurement of the throughput over a long time; None until there is one.
        thermal: likewise of heat and throttling.
    """

    model_id: str
    task: str
    frame: tuple[int, int] | None = None
    asked: Literal["auto"] | Precision = "auto"
    bound: float = 1.0
    batch: int = 1
    created_at: float
    device: Device
    versions: dict[str, str] = {}
    candidates: tuple[Candidate, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    layers: tuple[Layer, ...] = ()
    saturation: tuple[Saturation, ...] = ()
    scores: Scores | None = None
    classes: tuple[ClassRow, ...] = ()
    worst: tuple[WorstFrame, ...] = ()
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    why: tuple[str, ...] = ()
    would_hold: str = ""
    recipe: str = ""
    sustained: Check | None = None
    thermal: Check | None = None

    @property
    def chosen(self) -> Candidate | None:
        """None where the build was refused."""
        return next((one for one in self.candidates if one.chosen), None)

    @property
    def raced(self) -> tuple[int, ...]:
        """Batch sizes that were timed, ascending."""
        return tuple(sorted({timing.batch for one in self.candidates for timing in one.timings}))

    @property
    def shown_batch(self) -> int:
        """The batch size to compare at: the configured one, or the largest raced where that was not."""
        return self.batch if self.batch in self.raced or not self.raced else self.raced[-1]

    @property
    def metric(self) -> str:
        """What the points are; empty where nothing was evaluated."""
        return next((one.accuracy.metric for one in self.candidates if one.accuracy is not None), "")
