# SPDX-License-Identifier: Apache-2.0
"""Labels of classification: a table of file and class."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from edged.engine.evaluate.labels import Finder, Labels, Names, extra, stranger
from edged.engine.evaluate.words import some
from edged.engine.images import Image
from edged.errors import EngineError

_REMEDY = "write file,class a line; the class by name or by number from 0"


def read_classes(path: Path, images: Sequence[Image], names: Names) -> Labels:
    """Read the class of each image from a CSV file in UTF-8; a first line of headings is passed over.

    Args:
        path: its first column is the file's name, its second the class: a name, else a number from 0.
        images: whose labels are wanted.
        names: the model's classes.

    Raises:
        EngineError: it is no such table, has classes that the model does not know, or two for one file.
    """
    where = str(path)
    rows = _rows(path)
    finder = Finder(images, where)
    truths: list[int | None] = [None] * len(images)
    missing: list[str] = []
    unknown: dict[str, int] = {}
    for line, file, text in rows:
        position, number = finder.find(file), _number(text, names)
        if position is None:
            if number is not None or line > 1:  # else: headings
                missing.append(file)
        elif number is None:
            unknown.setdefault(text, line)
        elif truths[position] not in (None, number):
            raise EngineError(
                f"{file} is of class {truths[position]} and, in line {line}, of class {number}",
                where=where,
                remedy="leave one of the two",
            )
        else:
            truths[position] = number
    if unknown:
        shown = some(f"{text!r} (line {line})" for text, line in unknown.items())
        raise stranger(f"{len(unknown)} of its classes are no classes of the model: {shown}", names, where)
    return Labels(tuple(truths), extra(missing))


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Line number, file, class of every line that is not empty."""
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EngineError(
            f"it cannot be read ({error.strerror})", where=where, remedy="check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise EngineError("it is not UTF-8", where=where, remedy="save it as UTF-8 text") from error
    found = []
    reader = csv.reader(io.StringIO(text, newline=""))
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < 2:
            raise EngineError(f"line {reader.line_num} has no second column", where=where, remedy=_REMEDY)
        found.append((reader.line_num, row[0].strip(), row[1].strip()))
    if not found:
        raise EngineError("it is empty", where=where, remedy=_REMEDY)
    return found


def _number(text: str, names: Names) -> int | None:
    """The class that a name or a number means; None if there is no such class."""
    number = names.number(text)
    if number is not None:
        return number
    if text.isascii() and text.isdigit() and names.has(int(text)):
        return int(text)
    return None
