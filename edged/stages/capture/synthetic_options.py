# SPDX-License-Identifier: Apache-2.0
"""The options of ``synthetic://shapes?fps=30&seed=0&size=640x480&frames=0&cache=0``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from edged.errors import SettingsError

MIN_SIDE, MAX_SIDE = 32, 16384
MAX_FPS = 1000.0
MAX_CACHE_BYTES = 512 * 1024 * 1024
FORM = "synthetic://shapes?fps=30&seed=0&size=640x480&frames=0&cache=0"


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What ``synthetic://shapes?…`` asks for.

    Attributes:
        fps: frames per second.
        seed: of the scene.
        width: pixels.
        height: pixels.
        frames: how many before the source ends; 0 = never.
        cache: how many frames are drawn, each once, and then shown again and again; 0 = each is drawn anew. Showing a
            frame again costs next to nothing, which is for measurements of everything but the source.
    """

    fps: float = 30.0
    seed: int = 0
    width: int = 640
    height: int = 480
    frames: int = 0
    cache: int = 0


def parse_options(query: str, *, where: str) -> SyntheticOptions:
    """Read the options of a synthetic source.

    Args:
        query: what follows the ``?``.
        where: the source, as it stands in an error.

    Returns:
        The options, with defaults for those not given.

    Raises:
        SettingsError: an option that is unknown, given twice, or out of bounds, or a cache that is too large.
    """
    values: dict[str, int | float] = {}
    seen: set[str] = set()
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise SettingsError(f"unknown option {name!r}", where=where, remedy=f"known are {known}")
        if name in seen:
            raise SettingsError(f"option {name} is given twice", where=where)
        seen.add(name)
        try:
            values |= _OPTIONS[name](text)
        except ValueError as error:
            raise SettingsError(
                f"option {name} is {text!r}, which is not {error}", where=where, remedy=f"write {FORM}"
            ) from None
    options = _options(values)
    if options.cache * options.width * options.height * 3 > MAX_CACHE_BYTES:
        raise SettingsError(
            f"option cache is {options.cache}, which takes more than {MAX_CACHE_BYTES >> 20} MiB at this size",
            where=where,
            remedy="lower cache or size",
        )
    return options


def _options(values: dict[str, int | float]) -> SyntheticOptions:
    default = SyntheticOptions()
    return SyntheticOptions(
        fps=float(values.get("fps", default.fps)),
        seed=int(values.get("seed", default.seed)),
        width=int(values.get("width", default.width)),
        height=int(values.get("height", default.height)),
        frames=int(values.get("frames", default.frames)),
        cache=int(values.get("cache", default.cache)),
    )


def _whole(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
        raise ValueError(what)
    return int(text)


def _fps_option(text: str) -> dict[str, int | float]:
    what = f"a number above 0 and at most {MAX_FPS:g}"
    try:
        value = float(text)
    except ValueError:
        raise ValueError(what) from None
    if not (math.isfinite(value) and 0 < value <= MAX_FPS):
        raise ValueError(what)
    return {"fps": value}


def _seed_option(text: str) -> dict[str, int | float]:
    return {"seed": _whole(text, 0, 2**32 - 1, f"a whole number from 0 to {2**32 - 1}")}


def _frames_option(text: str) -> dict[str, int | float]:
    return {"frames": _whole(text, 0, 10**12 - 1, "a whole number, 0 for no end")}


def _cache_option(text: str) -> dict[str, int | float]:
    return {"cache": _whole(text, 0, 10**12 - 1, "a whole number, 0 for none")}


def _size_option(text: str) -> dict[str, int | float]:
    what = f"width x height such as 640x480, each from {MIN_SIDE} to {MAX_SIDE}"
    width, _, height = text.partition("x")
    return {"width": _whole(width, MIN_SIDE, MAX_SIDE, what), "height": _whole(height, MIN_SIDE, MAX_SIDE, what)}


_OPTIONS: dict[str, Callable[[str], dict[str, int | float]]] = {
    "fps": _fps_option,
    "seed": _seed_option,
    "size": _size_option,
    "cache": _cache_option,
    "frames": _frames_option,
}
