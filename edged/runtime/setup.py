# SPDX-License-Identifier: Apache-2.0
"""From settings to everything that is known before the first process starts. Every user mistake that can be seen is
seen here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from edged.config import Settings, SourceSettings
from edged.errors import ConfigError, EdgedError, SettingsError, SourceError, StateDirError
from edged.graph.prepare import FOLDER
from edged.model import ModelSpec
from edged.model_file import load_spec
from edged.ranges import check_available
from edged.stages.capture.uri import SourceUri, check_exists, parse
from edged.stages.publish.endpoint import EndpointLock, hold, parse_binds


@dataclass(frozen=True, slots=True)
class SourceSetup:
    """One source, resolved.

    Attributes:
        settings: as configured.
        uri: taken apart.
        live: latest wins, or lossless.
        error: what is wrong with it already, if anything.
    """

    settings: SourceSettings
    uri: SourceUri
    live: bool
    error: EdgedError | None

    @property
    def max_age_ns(self) -> int | None:
        """Age limit at publish; None for lossless sources."""
        return int(self.settings.max_age_ms * 1e6) if self.live else None

    def refusal(self, reason: str) -> SourceError:
        """The error for a source that can never work, for a reason that showed when it was opened."""
        where = f"source {self.settings.name}: {self.uri.shown}"
        return SourceError(reason, where=where, remedy="mend or remove the source")


@dataclass(slots=True)
class Setup:
    """What the supervisor starts from."""

    settings: Settings
    spec: ModelSpec
    sources: list[SourceSetup]
    cache: Path
    locks: list[EndpointLock] = field(default_factory=list)

    def release(self) -> None:
        """Give the endpoints back."""
        for lock in self.locks:
            lock.release()
        self.locks.clear()


def resolve(settings: Settings) -> Setup:
    """Check what can be checked without starting anything.

    Raises:
        ConfigError: something the user has to mend.
    """
    _check_engine(settings)
    spec = load_spec(settings.model.spec)
    sources = [_resolve_source(source, settings.uri_place(index)) for index, source in enumerate(settings.sources)]
    errors = [source.error for source in sources if source.error is not None]
    if errors and len(errors) == len(sources):
        raise errors[0]
    curve = settings.publish.curve
    parse_binds(settings.publish.bind, insecure=settings.publish.insecure, curve=curve is not None)
    return Setup(settings, spec, sources, ready_state_dir(settings.daemon.state_dir))


def hold_endpoints(setup: Setup) -> None:
    """Take the endpoints for this instance, for as long as it lives.

    Raises:
        EndpointInUseError: another instance has one of them.
    """
    publish = setup.settings.publish
    for endpoint in parse_binds(publish.bind, insecure=publish.insecure, curve=publish.curve is not None):
        setup.locks.append(hold(endpoint))


def ready_state_dir(path: Path) -> Path:
    """Make sure that the state directory can be written; returns the folder of prepared graphs in it.

    Raises:
        StateDirError: it cannot.
    """
    cache = path / FOLDER
    remedy = "choose another daemon.state_dir, or let this user write there"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirError(f"cannot be created: {error.strerror}", where=str(path), remedy=remedy) from error
    if not os.access(cache, os.W_OK | os.X_OK):
        raise StateDirError("cannot be written", where=str(path), remedy=remedy)
    return cache


def _resolve_source(settings: SourceSettings, place: str) -> SourceSetup:
    try:
        uri = parse(settings.uri.get_secret_value())
    except SettingsError as found:
        where = f"{place}: " * bool(place) + f"source {settings.name}: {found.where}"
        raise SettingsError(found.what, where=where, remedy=found.remedy) from found
    live = uri.live_by_default if settings.mode is None else settings.mode == "live"
    error: EdgedError | None = None
    try:
        check_exists(uri)
    except SourceError as found:
        error = SourceError(found.what, where=f"source {settings.name}: {found.where}", remedy=found.remedy)
    return SourceSetup(settings, uri, live, error)


def _check_engine(settings: Settings) -> None:
    if settings.engine.build == "serve-while-building" and settings.daemon.isolation == "thread":
        raise ConfigError(
            '"serve-while-building" takes a process of its own to build in',
            where="engine.build",
            remedy='use daemon.isolation = "process", or engine.build = "on-start"',
        )
    if settings.daemon.profile:
        check_available()
