# SPDX-License-Identifier: Apache-2.0
"""Loading the settings: defaults, overridden by a TOML file, by the environment, by the command line.

The file is validated strictly (``"8"`` is not a number); the environment and the command line are text and are
converted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edged.config_sources import Given, from_environment, from_flags, json_problems, nested
from edged.errors import SettingsError, folder_gone
from edged.fields import holds_path, leaves
from edged.problems import Problem, as_error, dotted, problems
from edged.settings import (
    BuildSettings,
    CurveSettings,
    DaemonSettings,
    EngineSettings,
    HttpSettings,
    ModelSettings,
    MonitorSettings,
    PublishSettings,
    Settings,
    SourceSettings,
    default_state_dir,
)
from edged.toml_file import Loc, TomlFile, read_toml

__all__ = [
    "BuildSettings",
    "CurveSettings",
    "DaemonSettings",
    "EngineSettings",
    "HttpSettings",
    "Loaded",
    "ModelSettings",
    "MonitorSettings",
    "PublishSettings",
    "Settings",
    "SourceSettings",
    "load",
]

_MISSING: dict[Loc, Problem] = {
    ("model",): Problem(("model", "spec"), "model.spec is missing", 'add [model] with spec = "PATH"', named=True),
    ("sources",): Problem(("sources",), "there is no source", "add [[sources]] with a name and a uri", named=True),
}


_SECTIONS = frozenset(Settings.model_fields)


@dataclass(frozen=True)
class Loaded:
    """Settings and where they come from.

    Attributes:
        settings: the settings.
        origins: for each value, by dotted key: ``default``, ``edged.toml:12``, ``EDGED_ENGINE__DEVICE`` or
            ``--engine.device``.
    """

    settings: Settings
    origins: dict[str, str]


def load(config: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Load the settings.

    Args:
        config: the TOML file; None for none at all.
        overrides: flags ``--section.key value`` or ``--section.key=value``.
        environ: environment variables; those that start with ``EDGED_`` count.

    Raises:
        UsageError: an unknown flag.
        SettingsError: the file is missing or broken, or a key, variable or value is wrong. The message tells the first
            problem and how many more there are.
    """
    flags = from_flags(overrides)
    variables, wrong = from_environment(environ)
    file = None
    if config is not None:
        remedy = "give the right path with --config"
        file = read_toml(config, SettingsError, kind="settings file", remedy=remedy)
    given = variables | flags
    _refuse([*(_file_problems(file) if file else []), *wrong, *json_problems(given)])
    data = _merged(_rooted(file.data, file.folder) if file else {}, _rooted(nested(given), None))
    daemon = data.setdefault("daemon", {})
    daemon.setdefault("state_dir", str(default_state_dir(environ)))
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found = [_MISSING.get(problem.loc, problem) for problem in problems(error, Settings, data)]
        _refuse([_locate(problem, given, file) for problem in found])
        raise
    locs = [("sources", index, "uri") for index in range(len(settings.sources))]
    settings.place_uris(tuple(_locate(Problem(loc, ""), given, file)[0] for loc in locs))
    return Loaded(settings, _origins(settings, given, file))


def _file_problems(file: TomlFile) -> list[tuple[str, Problem]]:
    """What is wrong with the file by itself; what is missing may still come from elsewhere."""
    if "onnx" in file.data and not _SECTIONS.intersection(file.data):
        remedy = f'settings name it in [model]: spec = "{file.path.name}" (docs/configuration.md)'
        return [(str(file.path), Problem((), "this looks like a model spec, not like settings", remedy))]
    try:
        # JSON, because strict Python values would have to be tuples and paths; dates, which no key takes, become null.
        Settings.model_validate_json(json.dumps(file.data, default=lambda _: None), strict=True)
    except ValidationError as error:
        found = problems(error, Settings, file.data)
        return [(file.where(problem.loc), problem) for problem in found if not problem.missing]
    return []


def _refuse(found: Sequence[tuple[str, Problem]]) -> None:
    if found:
        raise as_error(found, SettingsError)


def _locate(problem: Problem, given: Mapping[str, Given], file: TomlFile | None) -> tuple[str, Problem]:
    """Say where a problem of the merged settings comes from."""
    origin = _given_as(problem.loc, given)
    if origin is not None:
        return origin, problem._replace(loc=()) if dotted(problem.loc) in given else problem
    return (file.where(problem.loc) if file else "settings"), problem


def _given_as(loc: Loc, given: Mapping[str, Given]) -> str | None:
    """The variable or flag that gave the value at ``loc`` or the list around it."""
    names = (dotted(loc[:length]) for length in range(len(loc), 0, -1))
    return next((given[name].origin for name in names if name in given), None)


def _rooted(data: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The data with the paths in it made absolute; anything that is no path stays for validation to refuse.

    Args:
        data: the tree.
        folder: where relative ones start; None for the working folder.
    """
    rooted = _merged({}, data)
    for key, annotation in leaves(Settings).items():
        if not holds_path(annotation):
            continue
        *sections, name = key.split(".")
        table: Any = rooted
        for section in sections:
            table = table.get(section) if isinstance(table, dict) else None
        if isinstance(table, dict) and name in table:
            table[name] = _root(table[name], folder)
    return rooted


def _root(value: Any, folder: Path | None) -> Any:
    if isinstance(value, list):
        return [_root(item, folder) for item in value]
    if not isinstance(value, str) or not value:
        return value
    try:
        # The working folder is asked for only now: one that was removed is nobody's business while it is not needed.
        return str(Path(value).absolute() if folder is None else folder / value)
    except FileNotFoundError:
        raise folder_gone(value) from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees as one; where both have a value, ``above`` wins."""
    tree = dict(below)
    for key, value in above.items():
        inner = tree.get(key)
        tree[key] = _merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return tree


def _origins(settings: Settings, given: Mapping[str, Given], file: TomlFile | None) -> dict[str, str]:
    """Origin of every value, by dotted key."""
    origins = {}
    for loc in _value_locs(settings.redacted(), ()):
        origin = _given_as(loc, given)
        if origin is None and file is not None and loc in file.lines:
            origin = f"{file.path.name}:{file.lines[loc]}"
        origins[dotted(loc)] = origin or "default"
    return origins


def _value_locs(value: Any, loc: Loc) -> list[Loc]:
    """Ways to all values; a list of plain values is one value."""
    if isinstance(value, dict):
        return [inner for key, item in value.items() for inner in _value_locs(item, (*loc, key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [inner for index, item in enumerate(value) for inner in _value_locs(item, (*loc, index))]
    return [loc]
