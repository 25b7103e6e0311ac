# SPDX-License-Identifier: Apache-2.0
"""The settings tree: every key of the configuration, its type, bounds, default and meaning.

The sections of sources and engines have modules of their own.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from edged.problems import OWN_ERROR
from edged.settings_base import LoosePath, Section, Text
from edged.settings_engine import BuildSettings, EngineSettings
from edged.settings_sources import SourceSettings, unique_names

__all__ = [
    "BuildSettings",
    "CurveSettings",
    "DaemonSettings",
    "EngineSettings",
    "HttpSettings",
    "ModelSettings",
    "MonitorSettings",
    "PublishSettings",
    "Settings",
    "SourceSettings",
    "default_name",
    "default_state_dir",
]


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


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError('expected "address:port", for example "127.0.0.1:9464", or "" for off')
    return value


class DaemonSettings(Section):
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


class ModelSettings(Section):
    """The model."""

    spec: Annotated[LoosePath, Field(description="The model spec.")]


class CurveSettings(Section):
    """Encryption and client keys of tcp endpoints; both keys are required once there is one."""

    secret_key_file: Annotated[LoosePath, Field(description="The device's secret key.")]
    authorized_keys_dir: Annotated[LoosePath, Field(description="Public keys of the clients that may subscribe.")]


class PublishSettings(Section):
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


class MonitorSettings(Section):
    """What is measured while running."""

    interval_s: Annotated[float, Field(ge=0.1, le=3600.0, description="Seconds between two readings.")] = 1.0
    governor: Annotated[
        Literal["off", "advise", "act"], Field(description="Whether to lower the load when the device runs hot.")
    ] = "off"
    verify_every: Annotated[
        int, Field(ge=0, le=10**9, description="Replay one frame in N through the FP32 reference; 0 = never.")
    ] = 0


class HttpSettings(Section):
    """The HTTP endpoint."""

    bind: Annotated[
        str,
        Field(max_length=300, description='Address and port of /metrics, /livez, /readyz, /healthz; "" = off.'),
        AfterValidator(_host_and_port),
    ] = "127.0.0.1:9464"


def _masked(_uri: str) -> str:
    return "**********"


class Settings(Section):
    """Settings of the edged daemon."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    sources: Annotated[
        tuple[SourceSettings, ...],
        Field(min_length=1, max_length=256, description="Where frames come from; at least one."),
        AfterValidator(unique_names),
    ]
    model: ModelSettings
    engine: EngineSettings = Field(default_factory=EngineSettings)
    build: BuildSettings = Field(default_factory=BuildSettings)
    publish: PublishSettings = Field(default_factory=PublishSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    _uri_places: tuple[str, ...] = PrivateAttr(default=())

    def place_uris(self, places: tuple[str, ...]) -> None:
        """Note where the URI of each source was given: ``edged.toml:12``, a variable or a flag."""
        self._uri_places = places

    def uri_place(self, index: int) -> str:
        """Where the URI of a source was given; empty where nobody noted it."""
        return self._uri_places[index] if index < len(self._uri_places) else ""

    def redacted(self, redact: Callable[[str], str] = _masked) -> dict[str, Any]:
        """The settings as plain values that may be printed.

        Args:
            redact: removes the credentials from a source's URI; without it the whole URI is masked.
        """
        plain = self.model_dump(mode="json")
        for source, shown in zip(self.sources, plain["sources"], strict=True):
            shown["uri"] = redact(source.uri.get_secret_value())
        return plain
