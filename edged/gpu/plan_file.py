# SPDX-License-Identifier: Apache-2.0
"""The file of an engine: TensorRT's plan, behind a line that says what stands in front of it, if anything does.

One file, so that neither is ever without the other: its checksum covers both.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from edged.errors import EngineError
from edged.gpu.pixels import PixelStep

_MAGIC = b"edged plan 1\n"


class FrontSpec(NamedTuple):
    """What turns frames into the engine's own input.

    Attributes:
        frames: name of the input that users see.
        step: the arithmetic.
    """

    frames: str
    step: PixelStep


def packed_plan(plan: bytes, front: FrontSpec) -> bytes:
    """A plan with what stands in front of it."""
    step = front.step
    line = json.dumps({"frames": front.frames, "factor": step.factor, "shift": step.shift, "rgb": step.rgb})
    return _MAGIC + line.encode() + b"\n" + plan


def unpacked_plan(content: bytes, where: str) -> tuple[FrontSpec | None, memoryview]:
    """What stands in front, None where nothing does, and the plan.

    Raises:
        EngineError: the line cannot be read.
    """
    view = memoryview(content)
    if not content.startswith(_MAGIC):
        return None, view
    end = content.find(b"\n", len(_MAGIC))
    try:
        line = json.loads(content[len(_MAGIC) : end])
        step = PixelStep(_three(line["factor"]), _three(line["shift"]), bool(line["rgb"]))
        return FrontSpec(str(line["frames"]), step), view[end + 1 :]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"the engine's first line cannot be read ({error})",
            where=where,
            remedy="build it again on this device with edged-build-engine",
        ) from error


def _three(values: list[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
