# SPDX-License-Identifier: Apache-2.0
"""Values given as text: environment variables and command-line flags.

Both go through the environment source of pydantic-settings, which splits the names and decodes lists. It is
imported only when there is such a value, which spares the daemon 5 MB and 30 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edged.errors import UsageError
from edged.fields import is_list, leaves
from edged.problems import Problem, closest, printable
from edged.settings import Settings

PREFIX = "EDGED_"


@dataclass(frozen=True)
class Given:
    """A value given as text.

    Attributes:
        origin: the variable or flag it came from.
        text: the value.
    """

    origin: str
    text: str


def variable(key: str) -> str:
    """``engine.device`` as ``EDGED_ENGINE__DEVICE``."""
    return PREFIX + key.upper().replace(".", "__")


def from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Given], list[tuple[str, Problem]]]:
    """Values by key, and a problem for each variable that starts with ``EDGED_`` but is none of ours."""
    keys = {variable(key): key for key in leaves(Settings)}
    mine = {name: text for name, text in sorted(environ.items()) if name.startswith(PREFIX)}
    given = {keys[name]: Given(name, text) for name, text in mine.items() if name in keys}
    unknown = [(name, _unknown_variable(name, keys)) for name in mine if name not in keys]
    return given, unknown


def _unknown_variable(name: str, known: Iterable[str]) -> Problem:
    match = closest(name.removeprefix(PREFIX), [other.removeprefix(PREFIX) for other in known])
    remedy = f"did you mean {PREFIX}{match}?" if match else "variables are called EDGED_SECTION__KEY; unset this one"
    return Problem((), "unknown environment variable", remedy)


def from_flags(arguments: Sequence[str]) -> dict[str, Given]:
    """Values by key from ``--section.key value`` and ``--section.key=value``; the last one wins.

    Raises:
        UsageError: an unknown flag, a flag without a value, or something that is no flag.
    """
    known = leaves(Settings)
    given: dict[str, Given] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, text = argument.partition("=")
        key = flag.removeprefix("--")
        if not flag.startswith("-") or flag == "--":
            raise UsageError(
                f"unexpected argument {printable(argument)}", remedy="settings are given as --section.key VALUE"
            )
        if key not in known or key == flag:
            match = closest(key, known)
            remedy = f"did you mean --{match}?" if match else "its --help lists the flags"
            raise UsageError(f"unknown flag {printable(flag)}", remedy=remedy)
        if not equals:
            text = next(rest, "--")
        if not equals and text.startswith("--"):
            raise UsageError(f"flag {flag} needs a value", remedy=f"write {flag}=VALUE")
        given[key] = Given(flag, text)
    return given


def json_problems(given: Mapping[str, Given]) -> list[tuple[str, Problem]]:
    """A problem for each list that is not written as JSON; the text itself may hold secrets and is not repeated."""
    known = leaves(Settings)
    found = []
    for key, value in given.items():
        if is_list(known[key]) and not _is_json_list(value.text):
            found.append((value.origin, Problem((), "expected a JSON list", """for example '["…", "…"]'""")))
    return found


def _is_json_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def nested(given: Mapping[str, Given]) -> dict[str, Any]:
    """The values as a tree of sections; lists are decoded, everything else is still text."""
    if not given:
        return {}
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

    class Environment(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", defer_build=True)

    source = EnvSettingsSource(Environment)
    source.env_vars = {variable(key).lower(): value.text for key, value in given.items()}
    return source()
