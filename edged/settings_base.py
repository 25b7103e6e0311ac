# SPDX-License-Identifier: Apache-2.0
"""What all sections of the settings are made of, see `edged.settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=4096)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _path_text(value: Any) -> Any:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError("expected a path")
    return value


LoosePath = Annotated[Path, BeforeValidator(_path_text)]


class Section(BaseModel):
    """A table of the file; what it does not know it refuses."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True, protected_namespaces=()
    )
