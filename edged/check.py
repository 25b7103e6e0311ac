# SPDX-License-Identifier: Apache-2.0
"""``edged check``: resolve everything that a start would, without starting anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edged.config import Loaded, load
from edged.graph.prepare import PreparedModel, prepare
from edged.runtime.briefing import engine_wish
from edged.runtime.choose import choose, foresee, meanwhile
from edged.runtime.plans import ChosenEngine
from edged.runtime.setup import Setup, SourceSetup, resolve
from edged.stages.capture.readers.base import DecodeError, ReadFailedError, quiet_environment
from edged.stages.capture.redact import redact

_NOT_SET = "not set"


def run_check(
    config: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    *,
    as_json: bool,
    show: Callable[[str], None],
) -> int:
    """Check a configuration and show it.

    Args:
        config: the settings file.
        overrides: flags that are settings.
        environ: environment variables.
        as_json: show one JSON object instead of tables.
        show: prints.

    Returns:
        0; whatever is wrong is raised.

    Raises:
        UsageError: an unknown flag.
        ConfigError: settings, model, state directory, endpoint or source that cannot be used. Unlike ``edged run``, one
            missing file or folder source among others is enough.
        DeviceUnavailableError: the backend is not available.
    """
    loaded = load(config, overrides, environ)
    if not as_json:
        show(_table(loaded))
    setup = resolve(loaded.settings)
    for source in setup.sources:
        if source.error is not None:
            raise source.error
    _check_keys(setup)
    prepared = prepare(setup.spec, setup.cache)
    ask = {"never": choose, "on-start": foresee}.get(setup.settings.engine.build, meanwhile)
    engine = ask(engine_wish(setup), prepared, setup.settings.daemon.state_dir, setup.settings.model.spec)
    for source in setup.sources:
        if source.uri.on_disk:
            _check_readable(source)
    show(_as_json(config, loaded, setup, prepared, engine) if as_json else _summary(setup, prepared, engine))
    return 0


def _check_readable(source: SourceSetup) -> None:
    """Take one picture from a file or a folder: nothing less tells that it holds one.

    Raises:
        SourceError: it holds none.
    """
    os.environ.update(quiet_environment())
    # Only now, and only for such sources: OpenCV reads the environment when it is loaded, and loading takes time.
    from edged.stages.capture.readers import open_reader

    try:
        reader = open_reader(source.uri, live=source.live, decode="software")
        try:
            while True:
                try:
                    reader.read()
                except DecodeError:
                    continue
                return
        finally:
            reader.close()
    except ReadFailedError as error:
        raise source.refusal(str(error)) from error


def _check_keys(setup: Setup) -> None:
    """Read the CURVE keys, if there are any."""
    curve = setup.settings.publish.curve
    if curve is not None:
        from edged.stages.publish.security import load_server_curve

        load_server_curve(curve.secret_key_file, curve.authorized_keys_dir)


def _table(loaded: Loaded) -> str:
    """Every setting with its value and origin, aligned."""
    plain = loaded.settings.redacted(redact)
    rows = [("setting", "value", "from")]
    rows += [(key, _text(_at(plain, key)), origin) for key, origin in loaded.origins.items()]
    return _aligned(rows)


def _at(tree: Any, key: str) -> Any:
    """The value at a dotted key such as ``sources[0].name``."""
    for part in key.replace("[", ".").replace("]", "").split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def _text(value: Any) -> str:
    """A value as it would stand in the file."""
    return _NOT_SET if value is None else json.dumps(value, ensure_ascii=False)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _summary(setup: Setup, prepared: PreparedModel, engine: ChosenEngine) -> str:
    """What came of the settings."""
    sources = [("source", "mode", "opens")]
    sources += [(source.settings.name, _mode(source.live), source.uri.shown) for source in setup.sources]
    height, width = prepared.input_size
    classes = "" if prepared.classes is None else f", {prepared.classes} classes"
    model = [
        ("model", prepared.model_id),
        ("reads as", f"{prepared.task} by decoder {prepared.decoder}{classes}"),
        ("input", f"{'up to ' if prepared.dynamic else ''}{height} x {width} (height x width)"),
        ("outputs", _names(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in prepared.outputs)),
        ("prepared graph", prepared.path),
        ("runs on", f"{engine.backend} {engine.precision}, {engine.path or 'not built yet'}"),
    ]
    if engine.note:
        model.append(("note", engine.note))
    return "\n\n".join(["", _aligned(sources), _aligned(model), "configuration ok"])[1:]


def _mode(live: bool) -> str:
    return "live" if live else "lossless"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _as_json(config: Path | None, loaded: Loaded, setup: Setup, prepared: PreparedModel, engine: ChosenEngine) -> str:
    sources = [
        {"name": source.settings.name, "mode": _mode(source.live), "kind": source.uri.kind, "opens": source.uri.shown}
        for source in setup.sources
    ]
    model = msgspec.to_builtins(prepared) | {"outputs": [spec._asdict() for spec in prepared.outputs]}
    report = {
        "ok": True,
        "config": None if config is None else str(config),
        "settings": loaded.settings.redacted(redact),
        "origins": loaded.origins,
        "sources": sources,
        "model": model,
        "engine": msgspec.to_builtins(engine),
    }
    return json.dumps(report, ensure_ascii=False)
