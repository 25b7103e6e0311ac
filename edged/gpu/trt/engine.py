# SPDX-License-Identifier: Apache-2.0
"""Engines and contexts of TensorRT."""

from __future__ import annotations

import json
from typing import Any

from edged.errors import EngineError
from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.calls import failure
from edged.gpu.codes import OUT_OF_MEMORY
from edged.gpu.engines import EngineInfo, ExecutionContext, LayerTime, Shape, ShapeRange, TensorInfo
from edged.gpu.errors import EngineRunError
from edged.gpu.inventory import Inventory, Owned
from edged.gpu.trt.messages import Messages
from edged.gpu.trt.profile import make_profiler

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class TrtEngine(Owned):
    """A deserialised engine. Made by `edged.gpu.trt.library.TensorRt.load`."""

    _fading = ("_trt_engine",)

    def __init__(
        self, trt: Any, messages: Messages, inventory: Inventory, name: str, trt_engine: Any, plan_bytes: int
    ) -> None:
        self._trt = trt
        self._messages = messages
        self._trt_engine = trt_engine
        self.info = _describe(trt, trt_engine, plan_bytes)
        super().__init__(inventory, "engine", name, plan_bytes)

    def context(self, name: str, *, own_memory: bool = True) -> TrtContext:
        """Make a context.

        Raises:
            GpuMemoryError: no memory for it.
            EngineError: TensorRT refuses for another reason.
        """
        trt, trt_engine = self._trt, self._trt_engine
        self._messages.clear()
        if own_memory:
            made = trt_engine.create_execution_context()
        elif hasattr(trt, "ExecutionContextAllocationStrategy"):
            made = trt_engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        elif hasattr(trt_engine, "create_execution_context_without_device_memory"):
            made = trt_engine.create_execution_context_without_device_memory()
        else:
            made = None
        if made is None:
            if self._messages.memory_ran_out:
                raise failure(OUT_OF_MEMORY, f"making context {name}")
            raise EngineError(f"TensorRT makes no context of it: {self._messages.reason()}", where=self.name)
        size = max(self.info.activation_bytes) if own_memory else 0
        return TrtContext(trt, self._messages, self._inventory, name, made, size)

    def layers(self, context: ExecutionContext | None = None) -> dict[str, Any]:
        """What the inspector says of the layers; details only if the engine was built with them."""
        trt = self._trt
        trt_inspector = self._trt_engine.create_engine_inspector()
        if isinstance(context, TrtContext):
            context.show_to(trt_inspector)
        text = trt_inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        try:
            # Version 8.6 writes control characters into its strings.
            found = json.loads(text, strict=False)
        except json.JSONDecodeError as error:
            raise EngineError(f"TensorRT's inspector gives no valid JSON: {error}", where=self.name) from error
        return found if isinstance(found, dict) else {"Layers": found}

    def packed(self, name: str) -> bool:
        """Whether a tensor has its channels in fours, side by side for each pixel."""
        return bool(self._trt_engine.get_tensor_format(name) == self._trt.TensorFormat.CHW4)

    def _destroy(self) -> None:
        """Dropping the reference is what frees it."""


def _describe(trt: Any, trt_engine: Any, plan_bytes: int) -> EngineInfo:
    profiles = trt_engine.num_optimization_profiles
    tensors = []
    for index in range(trt_engine.num_io_tensors):
        name = trt_engine.get_tensor_name(index)
        is_input = trt_engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        on_device = trt_engine.get_tensor_location(name) == trt.TensorLocation.DEVICE
        dtype = trt_engine.get_tensor_dtype(name).name
        spans = range(profiles) if is_input and on_device else ()
        ranges = tuple(
            ShapeRange(*(tuple(shape) for shape in trt_engine.get_tensor_profile_shape(name, profile)))
            for profile in spans
        )
        shape = tuple(trt_engine.get_tensor_shape(name))
        tensors.append(TensorInfo(name, is_input, _DTYPES.get(dtype, dtype.lower()), shape, ranges, on_device))
    return EngineInfo(
        name=trt_engine.name,
        tensors=tuple(tensors),
        profiles=profiles,
        activation_bytes=_activation_bytes(trt_engine, profiles),
        layers=trt_engine.num_layers,
        aux_streams=trt_engine.num_aux_streams,
        plan_bytes=plan_bytes,
    )


def _activation_bytes(trt_engine: Any, profiles: int) -> tuple[int, ...]:
    if hasattr(trt_engine, "get_device_memory_size_for_profile_v2"):
        return tuple(trt_engine.get_device_memory_size_for_profile_v2(profile) for profile in range(profiles))
    if hasattr(trt_engine, "device_memory_size"):
        # Up to 9 there is one size for all profiles: the largest.
        return (trt_engine.device_memory_size,) * profiles
    raise EngineError("this TensorRT does not say how much memory an engine needs", where="tensorrt")


class TrtContext(Owned):
    """A context. What does not change is not said twice: every call costs host time."""

    _fading = ("_trt_context",)

    def __init__(
        self, trt: Any, messages: Messages, inventory: Inventory, name: str, trt_context: Any, size: int
    ) -> None:
        self._trt = trt
        self._messages = messages
        self._trt_context = trt_context
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._kept: list[object] = []
        self._layer_times: list[LayerTime] | None = None
        self._profiler: Any = None
        # −1 where another context has the only profile (8.6 without profile sharing).
        self.profile: int = trt_context.active_optimization_profile
        super().__init__(inventory, "context", name, size)

    def use_memory(self, memory: DeviceBuffer) -> None:
        """Take activation memory."""
        trt_context = self._trt_context
        if hasattr(trt_context, "set_device_memory"):
            trt_context.set_device_memory(memory.address, memory.size)
        else:
            trt_context.device_memory = memory.address

    def use_profile(self, index: int, stream: Stream) -> None:
        """Choose a profile; returns when the stream has done what it takes."""
        try:
            chosen = self._trt_context.set_optimization_profile_async(index, stream.handle)
        except RuntimeError as error:
            raise self._refusal(f"choosing profile {index}", stream) from error
        if not chosen:
            raise self._refusal(f"choosing profile {index}", stream)
        stream.synchronize()
        self.profile = index
        self._shapes.clear()

    def use_aux_streams(self, streams: list[Stream]) -> None:
        """Streams for work beside the main stream."""
        self._trt_context.set_aux_streams([stream.handle for stream in streams])
        self._kept[:] = streams

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set an input's shape."""
        if self._shapes.get(name) != shape:
            if not self._trt_context.set_input_shape(name, shape):
                raise self._refusal(f"giving {name} the shape {shape}")
            self._shapes[name] = shape

    def shape(self, name: str) -> Shape:
        """A tensor's shape now."""
        return tuple(self._trt_context.get_tensor_shape(name))

    def bind(self, name: str, address: int) -> None:
        """Have a tensor at an address."""
        if self._addresses.get(name) != address:
            if not self._trt_context.set_tensor_address(name, address):
                raise self._refusal(f"placing {name}")
            self._addresses[name] = address

    def on_input_consumed(self, event: Event) -> None:
        """Record an event where a run no longer needs its inputs."""
        if not self._trt_context.set_input_consumed_event(event.handle):
            raise self._refusal("setting the event of consumed inputs")

    def enqueue(self, stream: Stream) -> None:
        """Run on a stream."""
        if not self._trt_context.execute_async_v3(stream.handle):
            raise self._refusal("enqueuing the engine", stream)

    def timed_run(self, stream: Stream) -> list[LayerTime]:
        """Run once and tell each layer's time, see `edged.gpu.engines.ExecutionContext.timed_run`."""
        trt_context = self._trt_context
        if self._layer_times is None:
            self._layer_times = []
            self._profiler = make_profiler(self._trt, self._layer_times)
            trt_context.profiler = self._profiler
            # Else the enqueuing itself waits and reports, and the times hold the waiting of the host.
            trt_context.enqueue_emits_profile = False
        self._layer_times.clear()
        self.enqueue(stream)
        stream.synchronize()
        if not trt_context.report_to_profiler() or not self._layer_times:
            raise self._refusal("timing the layers", stream)
        return list(self._layer_times)

    def show_to(self, trt_inspector: Any) -> None:
        """Have an inspector describe the layers under this context's shapes."""
        trt_inspector.execution_context = self._trt_context

    def _refusal(self, doing: str, stream: Stream | None = None) -> EngineRunError:
        if stream is not None:
            # If the GPU is lost, this says so instead.
            stream.done()
        return EngineRunError(f"{doing} failed: {self._messages.reason()}", where=f"context {self.name}")

    def _destroy(self) -> None:
        """Dropping the reference is what frees it."""
