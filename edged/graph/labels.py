# SPDX-License-Identifier: Apache-2.0
"""Class names: one a line in a UTF-8 file."""

from __future__ import annotations

from pathlib import Path

from edged.errors import ModelError


def load_labels(path: Path | None, classes: int | None) -> list[str]:
    """Names of the classes.

    Args:
        path: the labels file; without one the names are the class numbers.
        classes: how many classes the model has; None where its outputs do not tell, then any count will do.

    Returns:
        One name a class; empty where neither a file nor a class count is known.

    Raises:
        ModelError: the file is missing, unreadable, empty, not UTF-8, has a blank line or another number of names.
    """
    if path is None:
        return [str(number) for number in range(classes or 0)]
    where = str(path)
    labels = [line.strip() for line in _text(path).rstrip().splitlines()]
    if not labels:
        raise ModelError("the labels file is empty", where=where, remedy="write one class name a line")
    if "" in labels:
        raise ModelError(
            f"line {labels.index('') + 1} of the labels file is blank",
            where=where,
            remedy="write one class name a line",
        )
    if classes is not None and len(labels) != classes:
        raise ModelError(
            f"the labels file has {len(labels)} names, but the model has {classes} classes",
            where=where,
            remedy="give one name for each class, in the order of training",
        )
    return labels


def _text(path: Path) -> str:
    where = str(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ModelError(
            "the labels file does not exist", where=where, remedy="correct the key labels of the model spec"
        ) from error
    except OSError as error:
        raise ModelError(
            f"the labels file cannot be read ({error.strerror})", where=where, remedy="give a readable text file"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError("the labels file is not UTF-8", where=where, remedy="save it as UTF-8 text") from error
