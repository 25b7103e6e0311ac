# SPDX-License-Identifier: Apache-2.0
"""What runs the prepared graph: the interface that ONNX Runtime and TensorRT implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


class BatchInput(NamedTuple):
    """The frames of a batch, where they lie in the rings.

    Attributes:
        frames: uint8 ``H×W×3`` views, all of one shape.
        contiguous: the same frames as one ``n×H×W×3`` view where they lie side by side, else None.
        addresses: where each frame starts, or only the first of those that are contiguous, as far as that is known;
            may be empty.
    """

    frames: Sequence[Frames]
    contiguous: Frames | None
    addresses: Sequence[int] = ()


class BatchOutput(Protocol):
    """Where a batch's outputs go: a slot of the output ring."""

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        """Array of output tensor ``index``, ``n×shape``; ``shape`` only where it is not fixed."""
        ...

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Write down one frame's shape of an output whose shape is not fixed."""
        ...


class Elapsed(NamedTuple):
    """How long a batch took, nanoseconds; ``cpu_ns`` is the CPU time of the inference, 0 where it is not measured."""

    copy_ns: int
    infer_ns: int
    cpu_ns: int = 0


class Executor(Protocol):
    """Runs batches in ``slots`` independent slots; slot ``i`` is free again after `collect`.

    The frames and the output of a submitted batch belong to the executor until `collect` returned.
    """

    slots: int
    max_batch: int
    io: str

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        """Start a batch; may return before it is done."""
        ...

    def done(self, slot: int) -> bool:
        """Whether the slot's batch is done; never waits."""
        ...

    def wait(self, slot: int, timeout_s: float) -> bool:
        """Wait until the slot's batch is done; False when the time ran out first."""
        ...

    def collect(self, slot: int) -> Elapsed:
        """End a batch that is done: its outputs are complete and its frames no longer read."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...
