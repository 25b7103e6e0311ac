# SPDX-License-Identifier: Apache-2.0
"""Turning what validation found into short sentences: what was expected, what was found, what was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

from edged.errors import ConfigError
from edged.fields import leaves, level
from edged.toml_file import Loc

SHOWN = 60
"""Longest piece of the user's own text that a message repeats."""

OWN_ERROR = "edged"
"""Error type of the validators in edged; their context may carry ``at``, the way from the field to the culprit."""

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "string_type": lambda _: "text",
    "path_type": lambda _: "a path",
    "int_type": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a smaller number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "float_parsing": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "list_type": lambda _: "a list",
    "tuple_type": lambda _: "a list",
    "model_type": lambda _: "a table",
    "literal_error": lambda ctx: str(ctx["expected"]),
    "greater_than": lambda ctx: f"a number above {ctx['gt']:g}",
    "greater_than_equal": lambda ctx: f"at least {ctx['ge']:g}",
    "less_than": lambda ctx: f"a number below {ctx['lt']:g}",
    "less_than_equal": lambda ctx: f"at most {ctx['le']:g}",
    "missing": lambda _: "a longer list",
    "too_short": lambda ctx: f"a list of at least {ctx['min_length']}",
    "too_long": lambda ctx: f"a list of at most {ctx['max_length']}",
    "string_too_short": lambda _: "text that is not empty",
    "string_too_long": lambda ctx: f"at most {ctx['max_length']} characters",
    "string_pattern_mismatch": lambda ctx: f"text of the form {ctx['pattern']}",
}


class Problem(NamedTuple):
    """One thing that is wrong with a file or a value.

    Attributes:
        loc: the key, as far as the data has it.
        what: a clause, without the key.
        remedy: what to do; may be empty.
        named: whether ``what`` already names the key.
        missing: whether a required key is not there.
        unknown: whether there is no such key.
    """

    loc: Loc
    what: str
    remedy: str = ""
    named: bool = False
    missing: bool = False
    unknown: bool = False


def printable(text: str) -> str:
    """The user's own text, made safe to repeat: no control characters, not long, and no address with credentials."""
    if "://" in text and "@" in text:
        return "…"
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"


def dotted(loc: Iterable[str | int]) -> str:
    """``('sources', 0, 'fps')`` as ``sources[0].fps``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{printable(part)}" if text else printable(part)
    return text


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: one that is spelt much alike, or a word of the one given."""
    from difflib import get_close_matches  # only errors need it

    names, words = list(known), name.split("_")
    # At 0.6 "frobnicate" would have meant "rotate"; at 0.67 "fsp" would not mean "fps" any more.
    alike = get_close_matches(name, names, n=1, cutoff=0.65)
    return next(iter(alike), None) or next((each for each in names if each in words), None)


def problems(error: ValidationError, model: type[BaseModel], data: dict[str, Any]) -> list[Problem]:
    """Everything that validation found: unknown keys first, since they explain missing ones, which come last.

    Args:
        error: what pydantic raised.
        model: the class that refused.
        data: what was validated.
    """
    located = [(_resolve(detail, data), detail) for detail in error.errors(include_url=False)]
    found: dict[Loc, list[ErrorDetails]] = {}
    for loc, detail in located:
        found.setdefault(loc, []).append(detail)
    described = (
        _describe(loc, _telling(details), model, data)
        for loc, details in found.items()
        if not (all(_is_kind(detail) or _is_echo(detail) for detail in details) and _is_prefix(loc, found))
    )
    return sorted(described, key=lambda problem: (problem.missing, not problem.unknown))


def as_error(found: Sequence[tuple[str, Problem]], kind: type[ConfigError]) -> ConfigError:
    """The first of several problems as an error that counts the others.

    Args:
        found: where each one is, and what it is.
        kind: class of the error.
    """
    where, problem = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    key = "" if problem.named or not problem.loc else f"{dotted(problem.loc)}: "
    if problem.remedy:
        return kind(key + problem.what, where=where, remedy=problem.remedy + more)
    return kind(key + problem.what + more, where=where)


def _resolve(detail: ErrorDetails, data: Any) -> Loc:
    """The error's place in the data: pydantic also names the branch of a union, which is no key."""
    loc: Loc = ()
    for part in detail["loc"]:
        if part in (data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()):
            loc += (part,)
            data = data[part]
    if _is_missing_key(detail):
        loc += (detail["loc"][-1],)
    return (*loc, *detail.get("ctx", {}).get("at", ()))


def _is_missing_key(detail: ErrorDetails) -> bool:
    """Whether a key is missing, and not an element of a list of fixed length."""
    return detail["type"] == "missing" and isinstance(detail["loc"][-1], str)


def _value(loc: Loc, data: Any) -> object:
    for part in loc:
        data = data[part]
    return data


def _is_kind(detail: ErrorDetails) -> bool:
    """Whether the value is of another kind altogether, as every branch of a union but one says."""
    return detail["type"].endswith("_type")


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether a list is only called too short because its elements were refused."""
    return detail["type"] == "too_short"


def _is_prefix(loc: Loc, others: Iterable[Loc]) -> bool:
    return any(len(other) > len(loc) and other[: len(loc)] == loc for other in others)


def _telling(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Of several branches' errors for one value, those of the branch whose kind of value was given."""
    return [detail for detail in details if not _is_kind(detail)] or details


def _describe(loc: Loc, details: Sequence[ErrorDetails], model: type[BaseModel], data: dict[str, Any]) -> Problem:
    first = details[0]
    if first["type"] == "extra_forbidden":
        return unknown_key(loc, model)
    if _is_missing_key(first):
        parent = dotted(loc[:-1])
        remedy = f"add it under [{parent}]" if parent else "add it above the first [table]"
        return Problem(loc, f"{dotted(loc)} is missing", remedy, named=True, missing=True)
    if first["type"] in (OWN_ERROR, "value_error"):
        return Problem(loc, first["msg"].removeprefix("Value error, "))
    expected = [
        _EXPECTED.get(detail["type"], lambda _, d=detail: d["msg"])(detail.get("ctx", {})) for detail in details
    ]
    value = _value(loc, data)
    if value == "" and all(_is_echo(detail) for detail in details):  # what is secret is called too short as lists are
        expected = ["text that is not empty"]
    remedy = "remove the quotes" if isinstance(value, str) and _unquoted(first["type"], value) else ""
    return Problem(loc, f"expected {' or '.join(dict.fromkeys(expected))}, found {_found(value)}", remedy)


def _unquoted(kind: str, text: str) -> bool:
    """Whether text would be right without its quotes."""
    if kind == "bool_type":
        return text in ("true", "false")
    return kind in ("int_type", "float_type") and text.replace(".", "", 1).lstrip("+-").isdecimal()


def _found(value: object) -> str:
    """Name a value; only short scalars are repeated."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return f'the text "{printable(value)}"' if value else "an empty text"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "null" if value is None else "a date or time"


def unknown_key(loc: Loc, model: type[BaseModel]) -> Problem:
    """An unknown key and what was probably meant: a neighbour, else the same name in another section."""
    name = str(loc[-1])
    siblings = list(level(model, loc[:-1]).model_fields)
    match = closest(name, siblings)
    elsewhere = [key for key in leaves(model) if key.rpartition(".")[2] == name]
    if match is not None:
        remedy = f"did you mean {dotted((*loc[:-1], match))}?"
    elif elsewhere:
        remedy = f"did you mean {elsewhere[0]}?"
    else:
        remedy = f"known here: {', '.join(siblings)}"
    return Problem(loc, f"unknown key {dotted(loc)}", remedy, named=True, unknown=True)
