# SPDX-License-Identifier: Apache-2.0
"""The wire schema, version 1: what subscribers receive, in one place; parts of larger messages in modules of their own.

A message is ZeroMQ multipart: ``[topic, JSON]`` or ``[topic, JSON, blob…]``. Within version 1 fields are only ever
added; readers ignore fields that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edged.messages_prediction import ClassScore, Detection, Dropped, FrameSize, Mask, ModelRef, Tensor, Timing
from edged.messages_stats import Count, ProcessStats, Sustained, Verified, Window
from edged.messages_thermal import (
    ClockSpeed,
    Fallen,
    Governing,
    MemoryUse,
    SensorValue,
    Throttling,
    UnknownSensor,
)

__all__ = [
    "BY_SCHEMA",
    "EVENT",
    "HEALTH",
    "PREDICTIONS",
    "STATS",
    "THERMAL",
    "ClassScore",
    "DaemonState",
    "Detection",
    "Dropped",
    "EngineHealth",
    "Envelope",
    "Event",
    "FrameSize",
    "Health",
    "Mask",
    "Message",
    "ModelRef",
    "Percentiles",
    "Prediction",
    "SourceHealth",
    "SourceState",
    "Stats",
    "Tensor",
    "Thermal",
    "Timing",
    "predictions_topic",
]

PREDICTIONS = "v1/predictions/"
HEALTH = "v1/health/"
THERMAL = "v1/thermal/"
STATS = "v1/stats/"
EVENT = "v1/event/"

SourceState = Literal["opening", "live", "stalled", "backoff", "ended", "failed"]
DaemonState = Literal["starting", "ready", "degraded", "stopping"]


def predictions_topic(source: str) -> str:
    """Topic of one source's predictions; it ends in ``/`` so that ``cam1`` never matches ``cam10``."""
    return f"{PREDICTIONS}{source}/"


class Envelope(msgspec.Struct, kw_only=True):
    """What every message carries.

    Attributes:
        device: ``daemon.name`` of the sender.
        boot: UUID, new at each start of the daemon: a change is a restart, not a loss.
        seq: count per topic from 1, +1 each: a gap is a loss. Goes on when the publish process is replaced.
        at: when it was sent, Unix seconds.
    """

    device: str
    boot: str
    seq: Annotated[int, Meta(ge=1)]
    at: float


class Prediction(Envelope, kw_only=True):
    """What a model saw in one frame; topic ``v1/predictions/<source>/``.

    Attributes:
        frame_id: the source's own count from 0, one for each frame taken, also those dropped or broken.
        captured_at: when the frame arrived, Unix seconds.
        captured_monotonic_ns: the same on CLOCK_MONOTONIC of the device, nanoseconds.
        age_ms: from capture to publish, milliseconds.
        batch: frames in the batch this one travelled in.
        dropped: this source's losses since boot.
        task: which of ``detections``, ``classes``, ``mask`` and ``tensors`` is there.
    """

    schema: Literal["edged.prediction/1"] = "edged.prediction/1"
    source: str
    frame_id: Count
    captured_at: float
    captured_monotonic_ns: int
    age_ms: float
    timing_ms: Timing
    batch: Annotated[int, Meta(ge=1)]
    dropped: Dropped
    frame: FrameSize
    model: ModelRef
    task: Literal["classification", "detection", "segmentation", "raw"]
    detections: list[Detection] | UnsetType = UNSET
    classes: list[ClassScore] | UnsetType = UNSET
    mask: Mask | UnsetType = UNSET
    tensors: list[Tensor] | UnsetType = UNSET


class Percentiles(msgspec.Struct, kw_only=True):
    """Percentiles over the last seconds; absent until something was measured."""

    p50: float
    p99: float


class SourceHealth(msgspec.Struct, kw_only=True):
    """One source's state and counts.

    ``captured = published + sum of dropped + in_flight`` holds in every message.

    Attributes:
        state: what the source is doing.
        reason: why, in words; empty while all is well.
        captured: frames taken since boot.
        published: frames whose prediction was published since boot.
        in_flight: frames between the two.
        dropped: frames lost, by reason.
        rate_hz: predictions published a second, over the last seconds.
        age_ms: capture to publish, over the last seconds.
        decode: ``software`` or ``hardware``; empty until it is known.
        damaged: frames captured since boot of which parts had been lost, see `FrameSize`; they are inferred and
            published like any other.
    """

    state: SourceState
    reason: str = ""
    captured: Count = 0
    published: Count = 0
    in_flight: Count = 0
    dropped: Dropped = msgspec.field(default_factory=Dropped)
    rate_hz: float = 0.0
    age_ms: Percentiles | None = None
    decode: str = ""
    damaged: Count = 0


class EngineHealth(ModelRef, kw_only=True):
    """The engine in use; ``io`` says how frames get to it (``in-place``, ``gather``, ``copy``, ``mapped``,
    ``staged``)."""

    io: str = ""


class Health(Envelope, kw_only=True):
    """How the daemon is, once a second; topic ``v1/health/``.

    Attributes:
        state: of the daemon as a whole.
        reasons: why it is not simply ready.
        sources: by name.
        engine: absent until the model is loaded.
        last_seq: the last sequence number of every topic: shows losses at the tail.
        subscribers: clients connected now (handshakes less disconnects).
    """

    schema: Literal["edged.health/1"] = "edged.health/1"
    state: DaemonState
    reasons: list[str] = msgspec.field(default_factory=list)
    sources: dict[str, SourceHealth] = msgspec.field(default_factory=dict)
    engine: EngineHealth | None = None
    last_seq: dict[str, int] = msgspec.field(default_factory=dict)
    subscribers: Count = 0


class Event(Envelope, kw_only=True):
    """Something that happened once; topic ``v1/event/``.

    Attributes:
        kind: a stable word, for example ``source-failed`` or ``process-replaced``.
        source: the source concerned, else empty.
        severity: how bad it is.
        text: one sentence for people.
        data: figures for programs.
    """

    schema: Literal["edged.event/1"] = "edged.event/1"
    kind: str
    source: str = ""
    severity: Literal["info", "warning", "error"] = "info"
    text: str = ""
    data: dict[str, int | float | str | bool] = msgspec.field(default_factory=dict)


class Stats(Envelope, kw_only=True):
    """Throughput, latency and where the time goes, once a second; topic ``v1/stats/``.

    Attributes:
        uptime_s: since the daemon started, seconds.
        processes: by name: ``supervisor``, ``infer``, ``publish``, ``capture:<source>``, ``verify``.
        verified: agreement with the FP32 reference; absent where `monitor.verify_every` is 0.
        windows: ``1m``, ``10m`` and ``60m``; empty until the first reading.
        sustained: peak against now; absent until a whole minute was seen.
    """

    schema: Literal["edged.stats/1"] = "edged.stats/1"
    uptime_s: float = 0.0
    processes: dict[str, ProcessStats] = msgspec.field(default_factory=dict)
    verified: Verified | UnsetType = UNSET
    windows: dict[str, Window] = msgspec.field(default_factory=dict)
    sustained: Sustained | UnsetType = UNSET


class Thermal(Envelope, kw_only=True):
    """Heat, clocks, power and what holds the device back, once a second; topic ``v1/thermal/``.

    What is unknown is absent, never 0.

    Attributes:
        read_at: when the sensors were read, Unix seconds; absent while nothing is known.
        sensors: those that told something.
        unknown: those that did not.
        clocks: of GPU and CPU.
        power_w: of the whole module or the GPU, watts.
        power_limit_w: its limit, watts.
        memory: in use.
        power_mode: of a Jetson.
        throttle: what holds the device back now.
        sustained: peak against now; absent until a whole minute was seen.
        fallen: why throughput fell; absent while it has not.
        governor: what it does.
    """

    schema: Literal["edged.thermal/1"] = "edged.thermal/1"
    read_at: float | UnsetType = UNSET
    sensors: list[SensorValue] = msgspec.field(default_factory=list)
    unknown: list[UnknownSensor] = msgspec.field(default_factory=list)
    clocks: list[ClockSpeed] = msgspec.field(default_factory=list)
    power_w: float | UnsetType = UNSET
    power_limit_w: float | UnsetType = UNSET
    memory: MemoryUse | UnsetType = UNSET
    power_mode: str | UnsetType = UNSET
    throttle: list[Throttling] = msgspec.field(default_factory=list)
    sustained: Sustained | UnsetType = UNSET
    fallen: Fallen | UnsetType = UNSET
    governor: Governing | UnsetType = UNSET


Message = Prediction | Health | Event | Stats | Thermal
BY_SCHEMA: dict[str, type[Prediction] | type[Health] | type[Event] | type[Stats] | type[Thermal]] = {
    "edged.prediction/1": Prediction,
    "edged.health/1": Health,
    "edged.stats/1": Stats,
    "edged.thermal/1": Thermal,
    "edged.event/1": Event,
}
