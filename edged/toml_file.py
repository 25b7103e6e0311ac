# SPDX-License-Identifier: Apache-2.0
"""Reading a TOML file and knowing on which line each of its keys stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edged.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Loc = tuple["str | int", ...]
"""Way to a value: keys of tables and indices of arrays."""

MAX_BYTES = 1 << 20
_MOST_LEVELS = 32
_MOST_BITS = 63
_DEEP = "nested too deeply"
_FLATTER = "write flatter lists and tables"
_MOST_TRIED = 1 << 19
"""How much text `key_lines` parses, above the file's own length: a value over thousands of lines is quadratic."""
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class TomlFile:
    """A parsed file.

    Attributes:
        path: as the user gave it.
        data: what it holds.
        lines: the line, from 1, on which each key and table header stands.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[Loc, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The absolute folder where the file's relative paths start."""
        return self.path.absolute().parent

    def line(self, loc: Sequence[str | int]) -> int | None:
        """Line of a value, or of the nearest table around it; None when the file has neither."""
        known = (tuple(loc[:length]) for length in range(len(loc), 0, -1))
        return next((self.lines[part] for part in known if part in self.lines), None)

    def where(self, loc: Sequence[str | int]) -> str:
        """``path:line`` of a value, or just the path when no line is known."""
        line = self.line(loc)
        return str(self.path) if line is None else f"{self.path}:{line}"


def read_toml(path: Path, error: type[ConfigError], *, kind: str, remedy: str) -> TomlFile:
    """Read and parse a file.

    Args:
        path: the file.
        error: class of what is raised.
        kind: what the file is, for messages: ``settings file``.
        remedy: what to do when it is not there.

    Raises:
        ConfigError: of the class asked for: the file is missing, unreadable, too large, not UTF-8 or not TOML.
    """
    text = _read_text(path, error, kind, remedy)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise _syntax_error(path, text, str(problem), error) from None
    except ValueError:
        raise error("holds a number of thousands of digits", where=str(path), remedy="write numbers") from None
    except RecursionError:
        raise error(_DEEP, where=str(path), remedy=_FLATTER) from None
    wrong = _unfit(data)
    if wrong is not None and wrong[1] == _DEEP:
        raise error(_DEEP, where=str(path), remedy=_FLATTER)
    file = TomlFile(path, data, key_lines(text))
    if wrong is not None:
        raise error(wrong[1], where=file.where(wrong[0]), remedy="write a smaller one")
    return file


def _unfit(data: dict[str, Any]) -> tuple[Loc, str] | None:
    """A value that is valid TOML, but more than anybody means and other code can be expected to take."""
    found = None
    waiting: list[tuple[Loc, Any]] = [((), data)]
    while waiting:
        loc, value = waiting.pop()
        if len(loc) > _MOST_LEVELS:
            return loc, _DEEP
        if isinstance(value, dict):
            waiting += [((*loc, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*loc, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
            found = loc, "a number that does not fit into 64 bits"
    return found


def _read_text(path: Path, error: type[ConfigError], kind: str, remedy: str) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error(f"{kind} not found", where=str(path), remedy=remedy) from None
    except OSError as problem:
        raise error(f"{kind} cannot be read: {problem.strerror}", where=str(path), remedy=remedy) from None
    if len(raw) > MAX_BYTES:
        raise error(f"larger than {MAX_BYTES >> 10} KiB, so it is no {kind}", where=str(path), remedy=remedy)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise error("not UTF-8 text", where=f"{path}:{line}", remedy=f"a {kind} is TOML text") from None


def _syntax_error(path: Path, text: str, message: str, error: type[ConfigError]) -> ConfigError:
    """Tell where the parser stopped. Its messages quote single characters, never a value."""
    match = _POSITION.search(message)
    what = message[: match.start()] if match else message
    line, column = match.groups() if match else (None, None)
    if line is None:
        return error(f"not valid TOML: {what} (the file ends too early)", where=f"{path}:{text.count(chr(10)) + 1}")
    return error(f"not valid TOML: {what} (column {column})", where=f"{path}:{line}", remedy="correct this line")


def key_lines(text: str) -> dict[Loc, int]:
    """Line of every key and table header of a valid TOML text.

    The standard parser gives no positions, so the text is cut into its statements (a header or a key with its value) by
    letting the same parser try each line, joined with the next ones while it is incomplete. Lines behind a value that
    is very long are left out.
    """
    lines: dict[Loc, int] = {}
    left = len(text) + _MOST_TRIED
    counts: dict[Loc, int] = {}
    table: Loc = ()
    pending, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        start = start if pending else number
        pending += line + "\n"
        left -= len(pending)
        if left < 0:
            break
        try:
            statement = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        if pending.lstrip().startswith("["):
            table = _table_of(statement, counts)
            lines.setdefault(table, start)
        else:
            _mark(statement, table, start, lines)
        pending = ""
    return lines


def _table_of(header: dict[str, Any], counts: dict[Loc, int]) -> Loc:
    """Resolve a parsed header; ``counts`` keeps the index of the newest element of each array of tables."""
    path: Loc = ()
    node: Any = header
    while node:
        key, node = next(iter(node.items()))
        path += (key,)
        if isinstance(node, list):
            counts[path] = counts.get(path, -1) + 1
            node = None
        if path in counts:
            path += (counts[path],)
    return path


def _mark(value: Any, loc: Loc, line: int, lines: dict[Loc, int]) -> None:
    """Note the line for a value and all that it holds."""
    if loc:
        lines.setdefault(loc, line)
    if isinstance(value, dict):
        for key, inner in value.items():
            _mark(inner, (*loc, key), line, lines)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _mark(inner, (*loc, index), line, lines)
