# SPDX-License-Identifier: Apache-2.0
"""The settings tree: every key of the configuration, its type, bounds, default and meaning."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from edged.problems import OWN_ERROR

Text = Annotated[str, Field(min_length=1, max_length=4096)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _path_text(value: Any) -> Any:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError("expected a path")
    return value


LoosePath = Annotated[Path, BeforeValidator(_path_text)]


def default_name() -> str:
    """The host name, with what a device name may not hold replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-._")[:100] or "edged"


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """systemd's ``$STATE_DIRECTORY`` (its first entry), else the XDG state folder."""
    managed = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if managed:
        return Path(managed)
    state_home = environ.get("XDG_STATE_HOME", "")
    if state_home.startswith("/"):  # the XDG specification says to ignore relative ones
        return Path(state_home) / "edged"
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(home) / ".local/state/edged" if home.startswith("/") else Path("/var/lib/edged")


def _unique_endpoints(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, endpoint in enumerate(value):
        if endpoint in value[:index]:
            raise PydanticCustomError(OWN_ERROR, "the same endpoint stands here twice", {"at": (index,)})
    return value


def _unique_names(value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
    names = [source.name for source in value]
    for index, name in enumerate(names):
        if name in names[:index]:
            place = {"at": (index, "name"), "name": name}
            raise PydanticCustomError(OWN_ERROR, "another source is already called {name}", place)
    return value


def _ordered(value: tuple[int, int, int]) -> tuple[int, int, int]:
    if not value[0] <= value[1] <= value[2]:
        raise ValueError("a profile is [min, opt, max] with min <= opt <= max")
    return value


def _a_part(value: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
    if value is not None and not (value[0] < value[2] and value[1] < value[3]):
        raise ValueError("a crop is [x1, y1, x2, y2] with x1 < x2 and y1 < y2, in fractions of the picture")
    return value


def _regions(value: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    for index, flat in enumerate(value):
        corners = len(flat) >= 6 and len(flat) % 2 == 0 and len(flat) <= 200
        if not corners and not (len(flat) == 4 and flat[0] < flat[2] and flat[1] < flat[3]):
            what = "expected [x1, y1, x2, y2] with x1 < x2 and y1 < y2, or x, y of three corners or more"
            raise PydanticCustomError(OWN_ERROR, what, {"at": (index,)})
    return value


def _no_more_than_slots(value: int, info: ValidationInfo) -> int:
    slots = info.data.get("slots", value)  # absent where it was refused itself
    if value > slots:
        context = {"contexts": value, "slots": slots}
        raise PydanticCustomError(
            OWN_ERROR, "{contexts} contexts have no more than the work of {slots} slot(s); raise engine.slots", context
        )
    return value


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError('expected "address:port", for example "127.0.0.1:9464", or "" for off')
    return value


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True, protected_namespaces=()
    )


class DaemonSettings(_Section):
    """The daemon as a whole."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="Device name in every message. Default: the host name.",
        ),
    ] = Field(default_factory=default_name)
    state_dir: Annotated[
        LoosePath,
        Field(description="Engines and ledger; created if missing. Default: systemd's or the user's state folder."),
    ] = Field(default_factory=lambda: default_state_dir(os.environ))
    isolation: Annotated[
        Literal["process", "thread"],
        Field(description="A process for each part, or threads in one process for tests and debugging."),
    ] = "process"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least severity that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "text", "json", "journal"],
        Field(description="auto: fields for systemd's journal, text on a terminal, else one JSON object a line."),
    ] = "auto"
    profile: Annotated[
        bool, Field(description="Mark every stage for Nsight Systems with NVTX ranges; needs the extra profile.")
    ] = False


class SourceSettings(_Section):
    """Where frames come from."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9_-]+$", max_length=100, description="Name in topics and metrics; unique.")
    ]
    uri: Annotated[SecretStr, Field(min_length=1, max_length=4096, description="What to open.")]
    mode: Annotated[
        Literal["live", "lossless"] | None,
        Field(description="live: the latest frame wins; lossless: the source waits. Default by kind of source."),
    ] = None
    fps: Annotated[
        Annotated[float, Field(gt=0.0, le=1000.0)] | None,
        Field(description="Upper bound of the rate, frames/s; live skips frames before counting, lossless slows down."),
    ] = None
    loop: Annotated[bool, Field(description="Start files again at their end; frame_id goes on counting.")] = False
    max_age_ms: Annotated[
        float, Field(gt=0.0, le=3_600_000.0, description="Live only: older frames are dropped, never published.")
    ] = 500.0
    stall_s: Annotated[
        Annotated[float, Field(ge=0.1, le=3600.0)] | None,
        Field(
            description="Without a frame for so long, a source is stalled and opened anew. Default: 1.5; lossless 10."
        ),
    ] = None
    priority: Annotated[
        int, Field(ge=-1000, le=1000, description="Higher goes first when the device cannot keep up.")
    ] = 0
    decode: Annotated[
        Literal["auto", "software", "hardware"],
        Field(description="Which decoder to use; auto falls back to software where hardware gives no picture."),
    ] = "auto"
    rotate: Annotated[
        Literal[0, 90, 180, 270], Field(description="Degrees clockwise that set the picture upright for the model.")
    ] = 0
    crop: Annotated[
        tuple[Fraction, Fraction, Fraction, Fraction] | None,
        Field(description="Part the model sees: x1, y1, x2, y2 in fractions of the source's picture. Default: all."),
        AfterValidator(_a_part),
    ] = None
    mask: Annotated[
        tuple[tuple[Fraction, ...], ...],
        Field(max_length=64, description="Regions blacked out: x1, y1, x2, y2 or the corners of a polygon; fractions."),
        AfterValidator(_regions),
    ] = ()


class ModelSettings(_Section):
    """The model."""

    spec: Annotated[LoosePath, Field(description="The model spec.")]


class EngineSettings(_Section):
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


class BuildSettings(_Section):
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


class CurveSettings(_Section):
    """Encryption and client keys of tcp endpoints; both keys are required once there is one."""

    secret_key_file: Annotated[LoosePath, Field(description="The device's secret key.")]
    authorized_keys_dir: Annotated[LoosePath, Field(description="Public keys of the clients that may subscribe.")]


class PublishSettings(_Section):
    """Where predictions go."""

    bind: Annotated[
        tuple[Text, ...],
        Field(min_length=1, description="ZeroMQ endpoints; the folder of an ipc path must exist."),
        AfterValidator(_unique_endpoints),
    ] = ("ipc:///run/edged/predictions.sock",)
    wait_for_subscribers: Annotated[
        int, Field(ge=0, le=10_000, description="Sources start once so many subscriptions to predictions have come.")
    ] = 0
    insecure: Annotated[bool, Field(description="Allow tcp beyond loopback without CURVE.")] = False
    curve: Annotated[CurveSettings | None, Field(description="Absent means no CURVE.")] = None


class MonitorSettings(_Section):
    """What is measured while running."""

    interval_s: Annotated[float, Field(ge=0.1, le=3600.0, description="Seconds between two readings.")] = 1.0
    governor: Annotated[
        Literal["off", "advise", "act"], Field(description="Whether to lower the load when the device runs hot.")
    ] = "off"
    verify_every: Annotated[
        int, Field(ge=0, le=10**9, description="Replay one frame in N through the FP32 reference; 0 = never.")
    ] = 0


class HttpSettings(_Section):
    """The HTTP endpoint."""

    bind: Annotated[
        str,
        Field(max_length=300, description='Address and port of /metrics, /livez, /readyz, /healthz; "" = off.'),
        AfterValidator(_host_and_port),
    ] = "127.0.0.1:9464"


def _masked(_uri: str) -> str:
    return "**********"


class Settings(_Section):
    """Settings of the edged daemon."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    sources: Annotated[
        tuple[SourceSettings, ...],
        Field(min_length=1, max_length=256, description="Where frames come from; at least one."),
        AfterValidator(_unique_names),
    ]
    model: ModelSettings
    engine: EngineSettings = Field(default_factory=EngineSettings)
    build: BuildSettings = Field(default_factory=BuildSettings)
    publish: PublishSettings = Field(default_factory=PublishSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)

    def redacted(self, redact: Callable[[str], str] = _masked) -> dict[str, Any]:
        """The settings as plain values that may be printed.

        Args:
            redact: removes the credentials from a source's URI; without it the whole URI is masked.
        """
        plain = self.model_dump(mode="json")
        for source, shown in zip(self.sources, plain["sources"], strict=True):
            shown["uri"] = redact(source.uri.get_secret_value())
        return plain
