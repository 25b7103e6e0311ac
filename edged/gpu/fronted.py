# SPDX-License-Identifier: Apache-2.0
"""An engine with the input step's kernel in front of it: to its users one engine that takes frames.

The image between kernel and engine lies behind the activations, in the same piece of memory: like them it is only used
during a run, so contexts whose runs come one after the other share it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from edged.errors import EngineError
from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.engines import (
    ALIGNMENT,
    Engine,
    EngineInfo,
    ExecutionContext,
    LayerTime,
    Shape,
    ShapeRange,
    TensorInfo,
)
from edged.gpu.inventory import Inventory, Owned
from edged.gpu.pixels import FORMS, MOST_PIXELS, Kernel, PixelCall, PixelStep

KERNEL = "edged/input (kernel)"
"""How the kernel is called among the layers."""


class Part(NamedTuple):
    """The first bytes of a buffer, as memory for the engine's own context."""

    whole: DeviceBuffer
    size: int

    @property
    def name(self) -> str:
        """Of the whole."""
        return self.whole.name

    @property
    def address(self) -> int:
        """Where it starts."""
        return self.whole.address

    @property
    def closed(self) -> bool:
        """Of the whole."""
        return self.whole.closed

    def close(self) -> None:
        """The whole has its own owner."""


class Front(NamedTuple):
    """What stands in front of an engine.

    Attributes:
        frames: name of the input that users see.
        step: the arithmetic.
        packed: whether the engine's own input has its channels packed in fours.
    """

    frames: str
    step: PixelStep
    packed: bool


class FrontedEngine(Owned):
    """An engine behind the kernel.

    Args:
        inventory: the GPU's.
        inner: takes the image, ``n×3×H×W``; belongs to this one from now on.
        kernel: belongs to this one too.
        front: what the kernel does.
        take: makes device memory.
        event: makes an event for timing.

    Raises:
        EngineError: the engine's input is no image that the kernel can make.
    """

    _fading = ("_inner",)

    def __init__(
        self,
        inventory: Inventory,
        inner: Engine,
        kernel: Kernel,
        front: Front,
        take: Callable[[str, int], DeviceBuffer],
        event: Callable[[str], Event],
    ) -> None:
        (self._image,) = _images(inner)
        form = FORMS.get((self._image.dtype, front.packed))
        if form is None:
            kind = f"{self._image.dtype}, {'packed' if front.packed else 'planes'}"
            raise EngineError(f"the input step's kernel makes no image of {kind}", where=inner.name)
        self._inner, self._kernel, self._front = inner, kernel, front
        self._take, self._event = take, event
        self.form, pixel_bytes = form
        spans = tuple(_of_frames(span) for span in self._image.ranges)
        self.image_bytes = pixel_bytes * max(prod(span.largest[:3]) for span in spans)
        self.image_offset = _aligned(max(inner.info.activation_bytes))
        self.info = self._describe(inner.info, spans)
        super().__init__(inventory, "front", inner.name)

    def _describe(self, info: EngineInfo, spans: tuple[ShapeRange, ...]) -> EngineInfo:
        if max(prod(span.largest[:3]) for span in spans) > MOST_PIXELS:
            raise EngineError(f"a batch has more than {MOST_PIXELS} pixels", where=self._inner.name)
        batch, _, height, width = self._image.shape
        frames = TensorInfo(self._front.frames, True, "uint8", (batch, height, width, 3), spans)
        return info._replace(
            tensors=(frames, *info.outputs),
            activation_bytes=(self.image_offset + self.image_bytes,) * info.profiles,
        )

    def context(self, name: str, *, own_memory: bool = True) -> FrontedContext:
        """Make a context."""
        inner = self._inner.context(name, own_memory=own_memory)
        try:
            own = self._take(f"image of {name}", self.image_bytes) if own_memory else None
        except BaseException:
            inner.close()
            raise
        call = PixelCall(self._front.step, self.form)
        return FrontedContext(self, inner, call, own)

    def layers(self, context: ExecutionContext | None = None) -> dict[str, Any]:
        """The layers of the engine itself; the kernel is none of TensorRT's."""
        return self._inner.layers(context.inner if isinstance(context, FrontedContext) else context)

    @property
    def image(self) -> str:
        """Name of the engine's own input."""
        return self._image.name

    @property
    def frames(self) -> str:
        """Name of the input that users see."""
        return self._front.frames

    def launch(self, stream: Stream, call: PixelCall) -> None:
        """Enqueue the kernel."""
        self._kernel.launch(stream, call)

    def event(self, name: str) -> Event:
        """Make an event for timing."""
        return self._event(name)

    @property
    def inventory(self) -> Inventory:
        """The GPU's."""
        return self._inventory

    def _destroy(self) -> None:
        self._inner.close()
        self._kernel.close()


class FrontedContext(Owned):
    """A context whose runs begin with the kernel."""

    _fading = ("inner",)

    def __init__(
        self, engine: FrontedEngine, inner: ExecutionContext, call: PixelCall, own: DeviceBuffer | None
    ) -> None:
        self._engine = engine
        self.inner = inner
        self._call = call
        self._own = own
        self._shape: Shape = ()
        self._consumed: Event | None = None
        self._timing: tuple[Event, Event] | None = None
        if own is not None:
            self._place(own.address)
        super().__init__(engine.inventory, "front context", inner.name)

    @property
    def profile(self) -> int:
        """The optimisation profile that is chosen."""
        return self.inner.profile

    def use_memory(self, memory: DeviceBuffer) -> None:
        """Take memory for activations and image."""
        offset = self._engine.image_offset
        if offset:
            self.inner.use_memory(Part(memory, offset))
        self._place(memory.address + offset)

    def use_profile(self, index: int, stream: Stream) -> None:
        """Choose an optimisation profile."""
        self.inner.use_profile(index, stream)
        self._shape = ()

    def use_aux_streams(self, streams: list[Stream]) -> None:
        """Streams for work beside the main stream."""
        self.inner.use_aux_streams(streams)

    def set_shape(self, name: str, shape: Shape) -> None:  # noqa: ARG002 - there is but one input
        """Set the shape of the frames."""
        if shape != self._shape:
            batch, height, width, _ = shape
            self.inner.set_shape(self._engine.image, (batch, 3, height, width))
            self._call.resize(batch, height, width)
            self._shape = shape

    def shape(self, name: str) -> Shape:
        """A tensor's shape now."""
        return self._shape if name == self._engine.frames else self.inner.shape(name)

    def bind(self, name: str, address: int) -> None:
        """Have a tensor at an address."""
        if name == self._engine.frames:
            self._call.place(frames=address)
        else:
            self.inner.bind(name, address)

    def on_input_consumed(self, event: Event) -> None:
        """Record an event where a run no longer needs its frames: right behind the kernel."""
        self._consumed = event

    def enqueue(self, stream: Stream) -> None:
        """Run on a stream."""
        self._engine.launch(stream, self._call)
        if self._consumed is not None:
            self._consumed.record(stream)
        self.inner.enqueue(stream)

    def timed_run(self, stream: Stream) -> list[LayerTime]:
        """Run once and tell each layer's time; the kernel is the first."""
        if self._timing is None:
            self._timing = (self._engine.event("kernel begun"), self._engine.event("kernel done"))
        begun, done = self._timing
        begun.record(stream)
        self._engine.launch(stream, self._call)
        done.record(stream)
        layers = self.inner.timed_run(stream)
        return [LayerTime(KERNEL, done.since(begun)), *layers]

    def _place(self, address: int) -> None:
        self._call.place(image=address)
        self.inner.bind(self._engine.image, address)

    def _destroy(self) -> None:
        self.inner.close()
        for event in self._timing or ():
            event.close()
        if self._own is not None:
            self._own.close()


def _images(inner: Engine) -> tuple[TensorInfo, ...]:
    images = inner.info.inputs
    if len(images) != 1 or len(images[0].shape) != 4 or images[0].shape[1] != 3:
        found = [(tensor.name, tensor.shape) for tensor in images]
        raise EngineError(f"the input step's kernel makes one image of three channels, not {found}", where=inner.name)
    return images


def _of_frames(span: ShapeRange) -> ShapeRange:
    smallest, best, largest = ((batch, height, width, 3) for batch, _, height, width in span)
    return ShapeRange(smallest, best, largest)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
