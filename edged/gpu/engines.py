# SPDX-License-Identifier: Apache-2.0
"""What an engine is to the rest of edged; nothing outside `edged.gpu` sees TensorRT's own objects."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from edged.gpu.api import DeviceBuffer, Event, Owned, Stream

Shape = tuple[int, ...]

ALIGNMENT = 256
"""Bytes; addresses bound to an engine's tensors should be multiples of it."""


class ShapeRange(NamedTuple):
    """Shapes that an optimisation profile takes for an input."""

    smallest: Shape
    best: Shape
    largest: Shape

    def takes(self, shape: Shape) -> bool:
        """Whether a shape lies within."""
        return len(shape) == len(self.smallest) and all(
            low <= extent <= high for low, extent, high in zip(self.smallest, shape, self.largest, strict=True)
        )


class TensorInfo(NamedTuple):
    """An input or output of an engine.

    Attributes:
        name: in the model.
        is_input: else an output.
        dtype: numpy dtype name; ``bfloat16`` and the like where numpy has none.
        shape: −1 where it varies.
        ranges: for inputs one for each profile; empty for outputs.
        on_device: False for the rare shape tensors that live on the host.
    """

    name: str
    is_input: bool
    dtype: str
    shape: Shape
    ranges: tuple[ShapeRange, ...] = ()
    on_device: bool = True


class EngineInfo(NamedTuple):
    """What an engine says of itself.

    Attributes:
        name: of the network; may be empty.
        tensors: inputs and outputs in the engine's order.
        profiles: how many optimisation profiles.
        activation_bytes: device memory that a context needs, for each profile.
        layers: after fusion.
        aux_streams: streams that a context uses beside its own.
        plan_bytes: size of the serialised engine.
    """

    name: str
    tensors: tuple[TensorInfo, ...]
    profiles: int
    activation_bytes: tuple[int, ...]
    layers: int
    aux_streams: int
    plan_bytes: int

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Input tensors."""
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Output tensors."""
        return tuple(tensor for tensor in self.tensors if not tensor.is_input)

    def narrowest_profile(self, name: str, shape: Shape) -> int | None:
        """The profile with the smallest largest shape that takes ``shape`` for input ``name``; None where none does."""
        (tensor,) = (tensor for tensor in self.inputs if tensor.name == name)
        fitting = [(_volume(span.largest), index) for index, span in enumerate(tensor.ranges) if span.takes(shape)]
        return min(fitting)[1] if fitting else None


def _volume(shape: Shape) -> int:
    volume = 1
    for extent in shape:
        volume *= extent
    return volume


class LayerTime(NamedTuple):
    """Time of one layer in one run: the engine's name of it, milliseconds."""

    name: str
    ms: float


class ExecutionContext(Owned, Protocol):
    """One use of an engine: shapes, addresses and activation memory. Two runs of it never overlap."""

    @property
    def profile(self) -> int:
        """The optimisation profile that is chosen."""
        ...

    def use_memory(self, memory: DeviceBuffer) -> None:
        """Take activation memory; contexts whose runs are ordered one after the other may share it."""
        ...

    def use_profile(self, index: int, stream: Stream) -> None:
        """Choose an optimisation profile; shapes have to be set again."""
        ...

    def use_aux_streams(self, streams: list[Stream]) -> None:
        """Streams for work beside the main stream, in place of TensorRT's own."""
        ...

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set an input's shape for the runs that follow."""
        ...

    def shape(self, name: str) -> Shape:
        """A tensor's shape under the current input shapes; −1 where only the run tells."""
        ...

    def bind(self, name: str, address: int) -> None:
        """Have a tensor at a device address (or a mapped host address as the device sees it)."""
        ...

    def on_input_consumed(self, event: Event) -> None:
        """Have an event recorded where a run no longer needs its inputs."""
        ...

    def enqueue(self, stream: Stream) -> None:
        """Run on a stream.

        Raises:
            EngineRunError: TensorRT refused; the logger's last lines say why.
            GpuLostError: the GPU is gone.
        """
        ...

    def timed_run(self, stream: Stream) -> list[LayerTime]:
        """Run on a stream, wait for the end, and tell how long each layer took, in the order of the run.

        Events between the layers make this slower than a plain run, and from the first call on all runs of the context
        have them: use a context of its own. Not for recording graphs.

        Raises:
            EngineRunError: TensorRT refused, or it told no times.
            GpuLostError: the GPU is gone.
        """
        ...


class Engine(Owned, Protocol):
    """A deserialised engine: weights on the device."""

    @property
    def info(self) -> EngineInfo:
        """What it says of itself."""
        ...

    def context(self, name: str, *, own_memory: bool = True) -> ExecutionContext:
        """Make a context; without ``own_memory`` it needs `ExecutionContext.use_memory` before anything else."""
        ...

    def layers(self, context: ExecutionContext | None = None) -> dict[str, Any]:
        """The layers as TensorRT's inspector describes them; its keys differ between versions.

        Args:
            context: one of this engine whose input shapes are set: dimensions that vary are then those of its shapes,
                and the layers those of its profile.
        """
        ...
