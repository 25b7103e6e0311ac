# SPDX-License-Identifier: Apache-2.0
"""Which shapes an engine is built for."""

from __future__ import annotations

from edged.engine.key import Profile, Three
from edged.graph.sizes import size_bounds
from edged.model import DynamicSize, InputSpec

DEFAULT_BATCHES: tuple[Three, ...] = ((1, 4, 8),)
LARGEST_AUTO = 128
"""Beyond it a batch gains nothing but age."""


def batches_for(
    given: tuple[Three, ...] | None, max_batch: int | None, fixed_batch: int | None
) -> tuple[tuple[Three, ...], str]:
    """The batch sizes of each optimisation profile, and what is to be said of them (often nothing).

    Args:
        given: min, opt, max of each, from the settings or the command line.
        max_batch: most frames in a batch; it takes the place of what is given.
        fixed_batch: the only batch size that the model takes.
    """
    if fixed_batch is not None:
        only = ((fixed_batch, fixed_batch, fixed_batch),)
        if given in (None, only) and max_batch in (None, fixed_batch):
            return only, ""
        return only, f"the model takes batches of {fixed_batch} only: the profiles asked for are left out"
    if max_batch is not None:
        return ((1, max(1, max_batch // 2), max_batch),), ""
    return given or DEFAULT_BATCHES, ""


def profiles_for(batches: tuple[Three, ...], spec: InputSpec) -> tuple[Profile, ...]:
    """An optimisation profile for each range of batch sizes, over all input sizes that the spec allows."""
    (low_h, low_w), (high_h, high_w) = size_bounds(spec)
    best_h, best_w = high_h, high_w
    if isinstance(spec.size, DynamicSize):
        step = spec.size.multiple
        best_h, best_w = (
            min(max(round(best / step) * step, low), high)
            for best, low, high in zip(spec.size.opt, (low_h, low_w), (high_h, high_w), strict=True)
        )
    return tuple(Profile(batch, (low_h, best_h, high_h), (low_w, best_w, high_w)) for batch in batches)


def largest_batch(free_bytes: int, fixed_bytes: int, frame_bytes: int) -> int:
    """The largest power of two of frames for which the GPU's free memory suffices; at least 1.

    Args:
        free_bytes: free on the GPU.
        fixed_bytes: needed whatever the batch size is.
        frame_bytes: needed for each frame of a batch, over all slots.
    """
    fitting = max(1, (free_bytes - fixed_bytes) // max(1, frame_bytes))
    return min(LARGEST_AUTO, 1 << (fitting.bit_length() - 1))
