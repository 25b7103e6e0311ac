# SPDX-License-Identifier: Apache-2.0
"""Settings of the daemon that is measured: the user's own, with sources that suit the question."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from edged.bench.subject import Subject
from edged.config import MonitorSettings, PublishSettings, Settings, SourceSettings
from edged.engine.store import CURRENT_FILE, ENGINES, model_folder
from edged.graph.prepare import FOLDER
from edged.stages.capture.uri import parse

LIVE_FPS = 30.0
LIVE_SHARE = 0.5
"""Of the rate that the daemon reaches: a live source beyond it would measure its queue."""
_MOST_FPS = 1000.0
_MOST_SOURCES = 8
_CORES_A_SOURCE = 4
_CACHE = 32
_CACHE_BYTES = 256 << 20
_LONG_MS = 60_000.0


class Workload(NamedTuple):
    """Sources, how they are shown, and what to know of them."""

    sources: tuple[SourceSettings, ...]
    shown: tuple[str, ...]
    notes: tuple[str, ...]


def flat_out(subject: Subject, uris: Sequence[str]) -> Workload:
    """Lossless sources as fast as they are taken: those given, those configured, else pictures drawn before."""
    if uris:
        sources = tuple(_source(f"s{number}", uri) for number, uri in enumerate(uris))
    elif subject.own_sources:
        sources = subject.settings.sources
    else:
        count = max(1, min(_MOST_SOURCES, len(os.sched_getaffinity(0)) // _CORES_A_SOURCE))
        sources = tuple(_source(f"s{number}", _stand_in(subject, LIVE_FPS, number)) for number in range(count))
    notes: list[str] = []
    changed = []
    for source in sources:
        kind = parse(source.uri.get_secret_value()).kind
        if kind in ("file", "dir", "synthetic"):
            update: dict[str, Any] = {"mode": "lossless", "fps": None, "loop": True}
        else:
            update = {"mode": "live", "max_age_ms": _LONG_MS}
            notes.append(f"source {source.name} is a camera: it gives its own rate and no more")
        changed.append(source.model_copy(update=update))
    return Workload(tuple(changed), _shown(changed), tuple(notes))


def paced(subject: Subject, uris: Sequence[str], rate_per_s: float) -> Workload:
    """Live sources: those given or configured at their own rates, else one at 30 frames a second, or half the rate that
    the daemon reaches where that is less."""
    given = tuple(_source(f"s{number}", uri) for number, uri in enumerate(uris))
    sources = given or (subject.settings.sources if subject.own_sources else ())
    if not sources:
        fps = max(1.0, min(LIVE_FPS, LIVE_SHARE * rate_per_s))
        sources = (_source("live", _stand_in(subject, fps, 0)),)
    live = [source.model_copy(update={"mode": "live", "loop": True, "max_age_ms": _LONG_MS}) for source in sources]
    return Workload(tuple(live), _shown(live), ())


def settings_text(subject: Subject, workload: Workload, endpoint: str, folder: Path, max_batch: int | None) -> str:
    """The settings file of a daemon.

    Args:
        subject: what runs.
        workload: where frames come from.
        endpoint: where it publishes.
        folder: for a state folder of its own, where the engine is not the store's current one.
        max_batch: frames of a batch at the most; None leaves it to the daemon.
    """
    settings = subject.settings
    state = _pinned_state(subject, folder) if subject.manifest is not None else settings.daemon.state_dir
    engine = subject.engine
    content: dict[str, Any] = {
        "daemon": {"name": "bench", "state_dir": str(state), "log_level": "warning"},
        "model": {"spec": str(subject.spec.absolute())},
        "engine": {
            **settings.engine.model_dump(mode="json"),
            "backend": engine.backend,
            "precision": engine.precision,
            "max_batch": max_batch,
            "build": "never",
        },
        "publish": {"bind": [endpoint], "wait_for_subscribers": 1},
        "http": {"bind": ""},
        "sources": [_plain(source) for source in workload.sources],
    }
    return to_toml(content)


def setup_settings(subject: Subject, workload: Workload) -> Settings:
    """The same settings as an object, for what is measured without a daemon."""
    # Nothing is bound; the user's own endpoint may be one of another machine, or in use.
    publish = PublishSettings(bind=("tcp://127.0.0.1:9",))
    update = {"sources": workload.sources, "publish": publish, "monitor": MonitorSettings()}
    return subject.settings.model_copy(update=update)


def to_toml(content: Mapping[str, Any]) -> str:
    """Sections of plain values as TOML; ``sources`` is an array of tables, None leaves a key out."""
    lines: list[str] = []
    for section, values in content.items():
        tables = values if section == "sources" else [values]
        head = "[[sources]]" if section == "sources" else f"[{section}]"
        for table in tables:
            lines += [head, *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's as well, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(source: SourceSettings) -> dict[str, Any]:
    return {**source.model_dump(mode="json"), "uri": source.uri.get_secret_value()}


def _source(name: str, uri: str) -> SourceSettings:
    return SourceSettings(name=name, uri=SecretStr(uri))


def _shown(sources: Sequence[SourceSettings]) -> tuple[str, ...]:
    shown = []
    for source in sources:
        uri = parse(source.uri.get_secret_value())
        text, options = f"{source.name}: {uri.shown}", uri.options
        if uri.kind == "synthetic":
            text += f" {options.width}x{options.height}"
            text += f" at {options.fps:g} frames/s" if source.mode == "live" else " unpaced"
        shown.append(text)
    return tuple(shown)


def _stand_in(subject: Subject, fps: float, seed: int) -> str:
    """Pictures at the model's size, drawn once and shown again and again: a source that costs next to nothing."""
    height, width = (max(32, extent) for extent in subject.frame)
    cache = max(1, min(_CACHE, _CACHE_BYTES // (height * width * 3)))
    return f"synthetic://shapes?fps={min(fps, _MOST_FPS):g}&seed={seed}&size={width}x{height}&cache={cache}"


def _pinned_state(subject: Subject, folder: Path) -> Path:
    """A state folder in which the engine that was measured is the current one, whatever the store's is by now."""
    store, model = subject.settings.daemon.state_dir, subject.prepared.model_id
    state = folder / "state"
    own = model_folder(state, model)
    own.mkdir(parents=True, exist_ok=True)
    key, engine = subject.engine.key, subject.engine
    for link, target in (
        (own / key, (store / ENGINES / model / key).absolute()),
        (state / FOLDER, (store / FOLDER).absolute()),
    ):
        if not link.is_symlink():
            link.symlink_to(target)
    current = {"engines": {f"{engine.backend}/{engine.precision}": key}, "schema": "edged.current/1"}
    (own / CURRENT_FILE).write_text(json.dumps(current))
    return state
