# SPDX-License-Identifier: Apache-2.0
"""The section ``[[sources]]`` of the settings, see `edged.settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from edged.problems import OWN_ERROR
from edged.settings_base import Fraction, Section


def _a_part(value: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
    if value is not None and not (value[0] < value[2] and value[1] < value[3]):
        raise ValueError("a crop is [x1, y1, x2, y2] with x1 < x2 and y1 < y2, in fractions of the picture")
    return value


def _regions(value: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    for index, flat in enumerate(value):
        corners = len(flat) >= 6 and len(flat) % 2 == 0 and len(flat) <= 200
        if not corners and not (len(flat) == 4 and flat[0] < flat[2] and flat[1] < flat[3]):
            what = "expected [x1, y1, x2, y2] with x1 < x2 and y1 < y2, or x, y of three corners or more"
            raise PydanticCustomError(OWN_ERROR, what, {"at": (index,)})
    return value


class SourceSettings(Section):
    """Where frames come from."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9_-]+$", max_length=100, description="Name in topics and metrics; unique.")
    ]
    uri: Annotated[SecretStr, Field(min_length=1, max_length=4096, description="What to open.")]
    mode: Annotated[
        Literal["live", "lossless"] | None,
        Field(description="live: the latest frame wins; lossless: the source waits. Default by kind of source."),
    ] = None
    fps: Annotated[
        Annotated[float, Field(gt=0.0, le=1000.0)] | None,
        Field(description="Upper bound of the rate, frames/s; live skips frames before counting, lossless slows down."),
    ] = None
    loop: Annotated[bool, Field(description="Start files again at their end; frame_id goes on counting.")] = False
    max_age_ms: Annotated[
        float, Field(gt=0.0, le=3_600_000.0, description="Live only: older frames are dropped, never published.")
    ] = 500.0
    stall_s: Annotated[
        Annotated[float, Field(ge=0.1, le=3600.0)] | None,
        Field(
            description="Without a frame for so long, a source is stalled and opened anew. Default: 1.5; lossless 10."
        ),
    ] = None
    priority: Annotated[
        int, Field(ge=-1000, le=1000, description="Higher goes first when the device cannot keep up.")
    ] = 0
    decode: Annotated[
        Literal["auto", "software", "hardware"],
        Field(description="Which decoder to use; auto falls back to software where hardware gives no picture."),
    ] = "auto"
    rotate: Annotated[
        Literal[0, 90, 180, 270], Field(description="Degrees clockwise that set the picture upright for the model.")
    ] = 0
    crop: Annotated[
        tuple[Fraction, Fraction, Fraction, Fraction] | None,
        Field(description="Part the model sees: x1, y1, x2, y2 in fractions of the source's picture. Default: all."),
        AfterValidator(_a_part),
    ] = None
    mask: Annotated[
        tuple[tuple[Fraction, ...], ...],
        Field(max_length=64, description="Regions blacked out: x1, y1, x2, y2 or the corners of a polygon; fractions."),
        AfterValidator(_regions),
    ] = ()


def unique_names(value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
    """Refuse two sources of one name."""
    names = [source.name for source in value]
    for index, name in enumerate(names):
        if name in names[:index]:
            place = {"at": (index, "name"), "name": name}
            raise PydanticCustomError(OWN_ERROR, "another source is already called {name}", place)
    return value
