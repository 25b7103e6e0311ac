# SPDX-License-Identifier: Apache-2.0
"""Walking the fields of pydantic classes: which keys there are and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Annotation of every key that takes a value, by dotted name; a list of tables is one key."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        if inner is None or is_list(field.annotation):
            found[prefix + name] = field.annotation
        else:
            found |= leaves(inner, f"{prefix}{name}.")
    return found


def is_list(annotation: Any) -> bool:
    """Whether an annotation is a list's."""
    return get_origin(annotation) in (list, tuple)


def holds_path(annotation: Any) -> bool:
    """Whether an annotation is a path's, or that of a list of paths."""
    return annotation is Path or any(holds_path(argument) for argument in get_args(annotation))


def level(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel]:
    """The class that describes the table at ``loc``."""
    for part in loc:
        if isinstance(part, str):
            model = next(_models(model.model_fields[part].annotation))
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    # Python 3.10 takes tuple[int, ...] for a class.
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
