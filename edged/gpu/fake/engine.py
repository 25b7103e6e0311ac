# SPDX-License-Identifier: Apache-2.0
"""Engines of the accounting GPU: Python functions over numpy arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.calls import failure
from edged.gpu.codes import CAPTURE_INVALIDATED
from edged.gpu.engines import EngineInfo, ExecutionContext, LayerTime, Shape, TensorInfo
from edged.gpu.errors import AccountingError, EngineRunError
from edged.gpu.fake.accounting import Span
from edged.gpu.fake.machine import Machine, Work
from edged.gpu.fake.memory import FakeDeviceBuffer
from edged.gpu.fake.streams import point_of, queue_of
from edged.gpu.inventory import Owned

Arrays = Mapping[str, NDArray[Any]]
Function = Callable[[Arrays], Arrays]
Infer = Callable[[Mapping[str, Shape]], Mapping[str, Shape]]


class FakeEngine(Owned):
    """A function as an engine.

    Args:
        machine: of the GPU.
        info: what the engine says of itself.
        function: from inputs to outputs, both by name; reads no more than its inputs.
        infer: output shapes from input shapes; by default a leading −1 is the first input's first extent.
        cost_ms: time of a run on the device's clock.
    """

    def __init__(
        self,
        machine: Machine,
        info: EngineInfo,
        function: Function,
        *,
        infer: Infer | None = None,
        cost_ms: float = 1.0,
    ) -> None:
        self.machine = machine
        self.info = info
        self.function = function
        self.infer = infer if infer is not None else self._infer
        self.cost_ms = cost_ms
        self.described: dict[str, Any] = {"Layers": [{"Name": info.name}]}
        """What the inspector says; a run's time is shared out evenly among these layers."""
        self._contexts = 0
        super().__init__(machine.inventory, "engine", info.name)

    def context(self, name: str, *, own_memory: bool = True) -> FakeContext:
        """Make a context."""
        self.machine.faults.hit("context", f"making context {name}")
        return FakeContext(self, name, own_memory=own_memory)

    def layers(self, context: ExecutionContext | None = None) -> dict[str, Any]:  # noqa: ARG002 - shapes are a function's
        """What `described` holds."""
        return self.described

    def count_contexts(self, change: int) -> None:
        """Note that a context came or went."""
        self._contexts += change

    def _infer(self, inputs: Mapping[str, Shape]) -> Mapping[str, Shape]:
        batch = inputs[self.info.inputs[0].name][0]
        return {
            tensor.name: (batch, *tensor.shape[1:]) if tensor.shape[:1] == (-1,) else tensor.shape
            for tensor in self.info.outputs
        }

    def _destroy(self) -> None:
        if self._contexts and not self.machine.faults.lost:
            raise AccountingError(f"engine {self.name} was ended before its {self._contexts} contexts", where="gpu")


class FakeContext(Owned):
    """A context: bound addresses, shapes, and activation memory that every run writes to."""

    _fading: ClassVar[tuple[str, ...]] = ("_addresses",)

    def __init__(self, engine: FakeEngine, name: str, *, own_memory: bool) -> None:
        self._engine = engine
        self._machine = engine.machine
        self.profile = 0
        self._tensors: dict[str, TensorInfo] = {tensor.name: tensor for tensor in engine.info.tensors}
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self._consumed: Event | None = None
        self._results: deque[Arrays] = deque()
        # What a graph of this context relies on: it is spoilt when the number changes.
        self._version = 0
        self._warm = -1
        self._own: FakeDeviceBuffer | None = None
        self._memory: tuple[int, int] | None = None
        if own_memory:
            size = max(engine.info.activation_bytes, default=0) or 1
            self._own = FakeDeviceBuffer(self._machine, f"activations of {name}", size, "activations")
            self._memory = (self._own.address, size)
        super().__init__(self._machine.inventory, "context", name)
        engine.count_contexts(1)

    def use_memory(self, memory: DeviceBuffer) -> None:
        """Take activation memory."""
        self._machine.faults.hit("use_memory", f"giving context {self.name} its memory")
        need = max(self._engine.info.activation_bytes, default=0)
        if memory.size < need:
            raise AccountingError(f"context {self.name} needs {need} bytes, {memory.name} has {memory.size}")
        self._memory = (memory.address, need)
        self._version += 1

    def use_profile(self, index: int, stream: Stream) -> None:
        """Choose a profile; counts as work of the stream."""
        doing = f"choosing profile {index} of context {self.name}"
        self._machine.faults.hit("use_profile", doing)
        if not 0 <= index < self._engine.info.profiles:
            raise EngineRunError(f"there is no profile {index}", where=doing)
        self.profile = index
        self._shapes.clear()
        self._version += 1
        self._machine.enqueue(queue_of(stream), Work(doing, (), self._scratch(), lambda: _nothing))

    def use_aux_streams(self, streams: list[Stream]) -> None:
        """Nothing runs beside the main stream here."""

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set an input's shape."""
        doing = f"setting the shape of {name}"
        self._machine.faults.hit("set_shape", doing)
        tensor = self._tensors[name]
        if not (tensor.is_input and tensor.ranges[self.profile].takes(shape)):
            raise EngineRunError(f"profile {self.profile} does not take {shape} for {name}", where=doing)
        if self._shapes.get(name) != shape:
            self._shapes[name] = shape
            self._version += 1

    def shape(self, name: str) -> Shape:
        """A tensor's shape now."""
        if self._tensors[name].is_input:
            return self._shapes[name]
        return self._engine.infer(self._shapes)[name]

    def bind(self, name: str, address: int) -> None:
        """Have a tensor at an address."""
        self._machine.faults.hit("bind", f"placing {name}")
        if self._tensors[name] and self._addresses.get(name) != address:
            self._addresses[name] = address
            self._version += 1

    def on_input_consumed(self, event: Event) -> None:
        """Record an event where a run no longer needs its inputs."""
        self._consumed = event

    def enqueue(self, stream: Stream) -> None:
        """Run the function on a stream."""
        doing = f"running {self._engine.name} ({self.name})"
        self._machine.faults.hit("enqueue", doing)
        queue = queue_of(stream)
        inputs, outputs = self._spans(doing)
        if queue.recording is not None and (self._warm != self._version or self._consumed is not None):
            # Real engines initialise lazily in their first run, which no graph can hold.
            raise failure(CAPTURE_INVALIDATED, doing)
        self._warm = self._version
        scratch, cost = self._scratch(), self._engine.cost_ms
        read = tuple(inputs.values())
        write = tuple(outputs.values())
        if self._consumed is None:
            work = Work(doing, read, (*scratch, *write), lambda: self._both(inputs, outputs), cost, self._unchanged())
            self._machine.enqueue(queue, work)
            return
        self._machine.enqueue(queue, Work(doing, read, scratch, lambda: self._compute(inputs), cost / 2))
        self._machine.record(queue, point_of(self._consumed))
        self._machine.enqueue(queue, Work(doing, (), (*scratch, *write), lambda: self._store(outputs), cost / 2))

    def timed_run(self, stream: Stream) -> list[LayerTime]:
        """Run, wait, and share the time out among the layers."""
        self.enqueue(stream)
        stream.synchronize()
        names = [layer if isinstance(layer, str) else layer["Name"] for layer in self._engine.described["Layers"]]
        return [LayerTime(name, self._engine.cost_ms / len(names)) for name in names]

    def _unchanged(self) -> Callable[[], None]:
        version = self._version

        def check() -> None:
            if self.closed or self._version != version:
                raise AccountingError(
                    f"a graph was launched after shapes, addresses or memory of its context {self.name} changed"
                )

        return check

    def _scratch(self) -> tuple[Span, ...]:
        if self._memory is None:
            raise EngineRunError("it has no activation memory", where=f"context {self.name}")
        return (self._machine.space.device(*self._memory, f"context {self.name}"),)

    def _spans(self, doing: str) -> tuple[dict[str, Span], dict[str, Span]]:
        missing = [name for name in self._tensors if name not in self._addresses]
        missing += [tensor.name for tensor in self._engine.info.inputs if tensor.name not in self._shapes]
        if missing:
            raise EngineRunError(f"no address or shape for {', '.join(missing)}", where=doing)
        spans: tuple[dict[str, Span], dict[str, Span]] = ({}, {})
        for tensor in self._tensors.values():
            size = int(np.prod(self.shape(tensor.name))) * np.dtype(tensor.dtype).itemsize
            span = self._machine.space.device(self._addresses[tensor.name], size, doing)
            spans[0 if tensor.is_input else 1][tensor.name] = span
        return spans

    def _array(self, name: str, span: Span, shape: Shape) -> NDArray[Any]:
        return span.bytes.view(self._tensors[name].dtype).reshape(shape)

    def _compute(self, inputs: dict[str, Span]) -> Callable[[], None]:
        shapes = dict(self._shapes)

        def run() -> None:
            given = {name: self._array(name, span, shapes[name]).copy() for name, span in inputs.items()}
            self._results.append(self._engine.function(given))

        return run

    def _store(self, outputs: dict[str, Span]) -> Callable[[], None]:
        shapes = dict(self._engine.infer(self._shapes))

        def run() -> None:
            results = self._results.popleft()
            for name, span in outputs.items():
                self._array(name, span, shapes[name])[...] = results[name]

        return run

    def _both(self, inputs: dict[str, Span], outputs: dict[str, Span]) -> Callable[[], None]:
        first, second = self._compute(inputs), self._store(outputs)

        def run() -> None:
            first()
            second()

        return run

    def _destroy(self) -> None:
        self._engine.count_contexts(-1)
        if self._own is not None:
            self._own.close()


def _nothing() -> None:
    """A run that moves no bytes."""
