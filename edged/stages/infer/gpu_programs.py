# SPDX-License-Identifier: Apache-2.0
"""The ways to run an engine on one slot's buffers: a graph for each common batch size, and one that takes any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edged.gpu.api import DeviceBuffer, Gpu, Graph, Stream
from edged.gpu.engines import Engine, ExecutionContext, Shape
from edged.gpu.errors import CaptureError, EngineRunError

_EACH = 8


def graph_sizes(max_batch: int) -> list[int]:
    """Batch sizes that get a graph: each up to 8, then 12, 16, 24, 32, 48, …, and the largest."""
    sizes = set(range(1, min(_EACH, max_batch) + 1)) | {max_batch}
    power = _EACH
    while power < max_batch:
        sizes |= {size for size in (power + power // 2, power * 2) if size <= max_batch}
        power *= 2
    return sorted(sizes)


class Program:
    """A context with its shape set, and its graph if it could be recorded."""

    def __init__(self, context: ExecutionContext, graph: Graph | None) -> None:
        self.context = context
        self.graph = graph

    def run(self, stream: Stream) -> None:
        """Enqueue one run."""
        if self.graph is not None:
            self.graph.launch(stream)
        else:
            self.context.enqueue(stream)


class Programs:
    """All programs of a slot.

    A graph holds its context's shapes and addresses, so each has a context of its own that is never touched again.
    Sizes without a graph run in a spare context, one for each optimisation profile, whose shape is set for each batch:
    exactly the frames that there are, no padding. All contexts of a compute stream share their activation memory.

    Args:
        name: of the slot.
        engine: what to run.
        stream: where; its runs come one after the other.
        activations: for all contexts.
        bindings: device address of every tensor.
        stack: closes everything.
        aux: streams for what the engine does beside its main stream. All contexts use the same: a run branches off
            ``stream`` and joins it again, so that runs never meet there, and a graph records both.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        stream: Stream,
        activations: DeviceBuffer | None,
        bindings: dict[str, int],
        stack: ExitStack,
        aux: Sequence[Stream] = (),
    ) -> None:
        self._name = name
        self._engine = engine
        self._stream = stream
        self._activations = activations
        self._bindings = bindings
        self._stack = stack
        self._aux = list(aux)
        (self._input,) = engine.info.inputs
        self._fixed: dict[Shape, Program] = {}
        self._spare: dict[int, ExecutionContext] = {}
        self.failures: list[str] = []

    def prepare(self, gpu: Gpu, max_batch: int, shapes: Sequence[Shape]) -> None:
        """Make contexts and graphs, and run each once, so that nothing is left to allocate later.

        Args:
            gpu: for recording.
            max_batch: frames that the buffers hold.
            shapes: input shapes that get a graph.
        """
        for index, span in enumerate(self._input.ranges):
            batch = min(span.largest[0], max_batch)
            if batch >= span.smallest[0]:
                context = self._spare[index] = self._context(f"{self._name} profile {index}", index)
                context.set_shape(self._input.name, (batch, *span.largest[1:]))
                self._run_once(context)
        for shape in shapes:
            self._fixed[shape] = self._record(gpu, shape)

    def program(self, shape: Shape) -> Program:
        """How to run an input shape.

        Raises:
            EngineRunError: no optimisation profile takes the shape.
        """
        found = self._fixed.get(shape)
        return found if found is not None else self.exact(shape, self._bindings[self._input.name])

    def exact(self, shape: Shape, address: int) -> Program:
        """How to run an input shape that lies at any device address, without a graph."""
        context = self._spare[self._profile(shape)]
        context.set_shape(self._input.name, shape)
        context.bind(self._input.name, address)
        return Program(context, None)

    def _profile(self, shape: Shape) -> int:
        profile = self._engine.info.narrowest_profile(self._input.name, shape)
        if profile is None:
            raise EngineRunError(
                f"no optimisation profile of the engine takes an input of {'x'.join(map(str, shape))}",
                where=self._name,
                remedy="build the engine with a profile for this size",
            )
        return profile

    def _record(self, gpu: Gpu, shape: Shape) -> Program:
        name = f"{self._name} {'x'.join(map(str, shape))}"
        context = self._context(name, self._profile(shape))
        context.set_shape(self._input.name, shape)
        self._run_once(context)
        try:
            graph = gpu.capture(name, self._stream, _enqueue(context, self._stream))
        except CaptureError as error:
            self.failures.append(str(error))
            return Program(context, None)
        self._stack.callback(graph.close)
        graph.launch(self._stream)
        self._stream.synchronize()
        return Program(context, graph)

    def _context(self, name: str, profile: int) -> ExecutionContext:
        context = self._engine.context(name, own_memory=self._activations is None)
        self._stack.callback(context.close)
        if self._activations is not None:
            context.use_memory(self._activations)
        if context.profile != profile:
            context.use_profile(profile, self._stream)
        if self._aux:
            context.use_aux_streams(self._aux)
        for tensor, address in self._bindings.items():
            context.bind(tensor, address)
        return context

    def _run_once(self, context: ExecutionContext) -> None:
        context.enqueue(self._stream)
        self._stream.synchronize()


def _enqueue(context: ExecutionContext, stream: Stream) -> Callable[[], None]:
    return lambda: context.enqueue(stream)
