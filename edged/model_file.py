# SPDX-License-Identifier: Apache-2.0
"""Loading a model spec."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edged.errors import ModelError
from edged.model import ModelSpec
from edged.problems import as_error, problems
from edged.toml_file import TomlFile, read_toml

_REMEDY = "model.spec in the settings names a model spec, a TOML file; docs/models.md describes it"
_FILES = {"onnx": "ONNX file", "labels": "labels file"}


def load_spec(path: Path) -> ModelSpec:
    """Load a model spec; its relative paths start at its own folder.

    Args:
        path: the TOML file.

    Returns:
        The spec with absolute paths to files that exist.

    Raises:
        ModelError: the spec is missing or broken, a key or value is wrong, or a file that it names is not there. The
            message tells the first problem, with its line, and how many more there are.
    """
    file = read_toml(path, ModelError, kind="model spec", remedy=_REMEDY)
    data: dict[str, Any] = dict(file.data)
    for key in _FILES:
        if isinstance(data.get(key), str):
            data[key] = _existing(file, key, data[key])
    try:
        return ModelSpec.model_validate(data)
    except ValidationError as error:
        found = problems(error, ModelSpec, data)
    raise as_error([(file.where(problem.loc), problem) for problem in found], ModelError)


def _existing(file: TomlFile, key: str, text: str) -> str:
    """A path in the spec, made absolute."""
    path = file.folder / text
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return str(path)
        wrong = f"{_FILES[key]} {path} is not a file"
    except (FileNotFoundError, NotADirectoryError):
        wrong = f"{_FILES[key]} {path} does not exist"
    except OSError as error:
        wrong = f"{_FILES[key]} cannot be read: {error.strerror}"
    except ValueError:  # a NUL in it
        wrong = "expected a path"
    remedy = f"correct {key}; a relative path starts at {file.folder}"
    raise ModelError(f"{key}: {wrong}", where=file.where((key,)), remedy=remedy)
