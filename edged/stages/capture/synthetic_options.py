# SPDX-License-Identifier: Apache-2.0
"""The options of ``synthetic://shapes?fps=30&seed=0&size=640x480&frames=0&cache=0``."""

from __future__ import annotations

from dataclasses import dataclass

from edged.errors import SettingsError
from edged.stages.capture.options import Known, Values, number, parse_query, size, whole

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
    options = SyntheticOptions(**parse_query(query, _OPTIONS, where=where, form=FORM))
    if options.cache * options.width * options.height * 3 > MAX_CACHE_BYTES:
        raise SettingsError(
            f"option cache is {options.cache}, which takes more than {MAX_CACHE_BYTES >> 20} MiB at this size",
            where=where,
            remedy="lower cache or size",
        )
    return options


def _fps_option(text: str) -> Values:
    return {"fps": number(text, 0.0, MAX_FPS, f"a number above 0 and at most {MAX_FPS:g}")}


def _seed_option(text: str) -> Values:
    return {"seed": whole(text, 0, 2**32 - 1, f"a whole number from 0 to {2**32 - 1}")}


def _frames_option(text: str) -> Values:
    return {"frames": whole(text, 0, 10**12 - 1, "a whole number, 0 for no end")}


def _cache_option(text: str) -> Values:
    return {"cache": whole(text, 0, 10**12 - 1, "a whole number, 0 for none")}


def _size_option(text: str) -> Values:
    width, height = size(text, MIN_SIDE, MAX_SIDE)
    return {"width": width, "height": height}


_OPTIONS: Known = {
    "fps": _fps_option,
    "seed": _seed_option,
    "size": _size_option,
    "cache": _cache_option,
    "frames": _frames_option,
}
