# SPDX-License-Identifier: Apache-2.0
"""What ``edged-build-engine`` and its building child tell each other: one JSON object a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from edged.engine.key import Three
from edged.engine.report.data import ReportData
from edged.errors import BY_NAME, EdgedError, InternalError


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon that asks for a build is going to want of its engine.

    Attributes:
        max_batch: frames in a batch that it must take; None for what it takes.
    """

    max_batch: int | None


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """From what INT8 is made, and what shows that it is good: `edged.engine.chain`.

    Attributes:
        calibrate: folders of images that ranges are taken from.
        source: URI of a source to sample such images from; empty for none. It may hold a password.
        minutes: how long that is sampled.
        evaluate: folders of images that judge the result.
        labels: path of what is known of these; None to hold the result against FP32.
        bound: points that may be lost.
        calibrator: ``search``, ``minmax``, ``entropy`` or ``percentile``.
        search: give layers back to float until the bound holds; otherwise all that can be is in INT8.
        keep_float: patterns of layer names that are never quantized.
        search_s: longest time of the search, seconds.
        recipe: path of what another build has found; None to find it here.
    """

    calibrate: tuple[str, ...] = ()
    source: str = ""
    minutes: float = 10.0
    evaluate: tuple[str, ...] = ()
    labels: str | None = None
    bound: float = 1.0
    calibrator: str = "search"
    search: bool = True
    keep_float: tuple[str, ...] = ()
    search_s: float = 900.0
    recipe: str | None = None

    @property
    def calibrates(self) -> bool:
        """Whether there are images to take ranges from."""
        return bool(self.calibrate or self.source)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to measure; otherwise an engine is only built."""
        return self.calibrates or bool(self.evaluate) or self.recipe is not None


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    Attributes:
        spec: path of the model spec.
        state_dir: where prepared graphs and engines lie.
        timing_cache: path of TensorRT's measurements of earlier builds.
        backend: ``auto``, ``tensorrt`` or ``onnxruntime``.
        precision: ``auto``, ``int8``, ``fp16``, ``tf32`` or ``fp32``.
        force: build even where the engine is there.
        device: GPU index.
        slots: batches in flight that the engine is going to serve; each needs its own activation memory.
        batches: batch min, opt, max of each optimisation profile; None for the default.
        max_batch: most frames in a batch; ``auto`` for what the GPU's free memory takes; None for what `batches` say.
        workspace_mb: GPU memory that a layer may use beside its tensors, MiB.
        optimization_level: effort, 0 to 5.
        aux_streams: streams beside the main one; None leaves it to the builder.
        plugins: custom-operator libraries to load.
        keep: earlier engines of the same backend and precision to keep beside the current one.
        serving: build only where a daemon would find no engine that is valid here; None looks for nothing but the very
            engine that would be built.
        sources: live and lossless ones that the engine is going to serve; None where they are not known.
        trust: from what INT8 is made, and what shows that it is good.
        memory_mb: most memory that the building process may take, MiB; None for what is free.
        thrift: how often memory ran out before: each time more is done without.
    """

    spec: str
    state_dir: str
    timing_cache: str
    backend: str = "auto"
    precision: str = "auto"
    force: bool = False
    device: int = 0
    slots: int = 2
    batches: tuple[Three, ...] | None = None
    max_batch: int | Literal["auto"] | None = None
    workspace_mb: int = 1024
    optimization_level: int = 3
    aux_streams: int | None = None
    plugins: tuple[str, ...] = ()
    keep: int = 1
    serving: Serving | None = None
    sources: tuple[int, int] | None = None
    trust: Trust = Trust()
    memory_mb: int | None = None
    thrift: int = 0


class Phase(msgspec.Struct, frozen=True, tag="phase"):
    """A new part of the work has begun; what it is called."""

    name: str


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How far the builder is in one of its own tasks.

    Attributes:
        task: what it calls it.
        done: steps done.
        total: steps there are; 0 where the task has ended.
        parent: the task that it is part of; empty at the top.
    """

    task: str
    done: int
    total: int
    parent: str = ""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something that the user should know."""

    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end of a build.

    Attributes:
        model_id: the spec's id.
        key: the engine's name; empty where a daemon runs the prepared graph as it is.
        folder: where it lies; empty likewise.
        built: whether it was built; False where it was there already.
        names: under which it is current now, for example ``tensorrt/fp16``.
        outdated: earlier engines that had to go, and what became of each, in words.
        others: further engines that were built, by the names under which they are current.
        report: path of the page that tells why; empty where nothing was measured.
    """

    model_id: str
    key: str
    folder: str
    built: bool
    names: tuple[str, ...]
    outdated: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    report: str = ""


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """What was measured and chosen, or refused.

    Attributes:
        data: of the report, without its pictures.
        report: path of the page; empty where it could not be written.
    """

    data: ReportData
    report: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An error; ``traceback`` only where it is a bug, ``memory`` where there was too little of it."""

    name: str
    what: str
    where: str
    remedy: str
    traceback: str = ""
    memory: bool = False

    @classmethod
    def of(cls, error: EdgedError, traceback: str = "", *, memory: bool = False) -> Failed:
        """An error as an event."""
        names = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in BY_NAME]
        # The GPU's own errors are not known there: what counts on the other side is the exit code.
        same = [name for name, kind in BY_NAME.items() if kind.exit_code == error.exit_code]
        name = next(name for name in (*names, *same) if BY_NAME[name].exit_code == error.exit_code)
        return cls(name, error.what, error.where, error.remedy, traceback, memory)

    def error(self) -> EdgedError:
        """The error that the event tells of."""
        return BY_NAME.get(self.name, InternalError)(self.what, where=self.where, remedy=self.remedy)


Event = Phase | Step | Note | Verdict | Done | Failed
Tell = Callable[[Event], None]
"""Takes what a build has to say."""


def to_line(event: Event) -> bytes:
    """An event as a line."""
    return msgspec.json.encode(event) + b"\n"


def from_line(line: bytes) -> Event:
    """The event of a line.

    Raises:
        ValueError: it is none.
    """
    event: Event = msgspec.json.decode(line, type=Event)
    return event
