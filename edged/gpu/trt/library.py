# SPDX-License-Identifier: Apache-2.0
"""The installed TensorRT: what it can do, its log, plugins, and loading engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edged.errors import EngineError
from edged.gpu import load
from edged.gpu.calls import failure
from edged.gpu.codes import OUT_OF_MEMORY
from edged.gpu.engines import Engine
from edged.gpu.inventory import Inventory
from edged.gpu.plan_file import unpacked_plan
from edged.gpu.trt.engine import TrtEngine
from edged.gpu.trt.front import with_kernel
from edged.gpu.trt.messages import Message, Messages, make_logger


class TensorRt:
    """TensorRT in this process; make one.

    Args:
        plugins: libraries of custom operators; every process that builds or runs such an engine loads them.
        module: the Python module, for a drop-in such as ``tensorrt_rtx``.
        on_message: is given every line of TensorRT's log above VERBOSE, from whichever thread.

    Raises:
        DeviceUnavailableError: TensorRT is not installed.
        EngineError: a plugin library cannot be loaded.
    """

    def __init__(
        self,
        plugins: Iterable[Path] = (),
        *,
        module: str = "tensorrt",
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        self.trt: Any = load.tensorrt(module)
        self.messages = Messages(on_message)
        self.logger = make_logger(self.trt, self.messages)
        self.version: str = self.trt.__version__
        self._runtime: Any = None
        self.trt.init_libnvinfer_plugins(self.logger, "")
        for path in plugins:
            self._load_plugin(path)

    @property
    def strongly_typed_only(self) -> bool:
        """Whether precision comes from the model's types alone (11 and later), and no flag can change it."""
        return not hasattr(self.trt.BuilderFlag, "FP16")

    @property
    def can_type_strongly(self) -> bool:
        """Whether precision can come from the model's types (10 and later)."""
        return self.strongly_typed_only or hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def reports_progress(self) -> bool:
        """Whether a build tells how far it is (10 and later)."""
        return hasattr(self.trt, "IProgressMonitor")

    def unsupported(self, operators: Iterable[str]) -> list[str]:
        """Which of these ONNX operators TensorRT neither parses nor has a plugin for; loaded libraries count."""
        trt = self.trt
        plugins = self._plugin_names()
        trt_builder = trt.Builder(self.logger)
        trt_network = trt_builder.create_network(network_flags(trt, strongly_typed=False))
        trt_parser = trt.OnnxParser(trt_network, self.logger)
        return [name for name in operators if name not in plugins and not trt_parser.supports_operator(name)]

    def _plugin_names(self) -> set[str]:
        """Names of the plugins that are registered: the parser takes nodes of an unknown operator for these."""
        trt_registry = self.trt.get_plugin_registry()
        if hasattr(trt_registry, "all_creators"):
            return {trt_creator.name for trt_creator in trt_registry.all_creators}
        if hasattr(trt_registry, "plugin_creator_list"):
            return {trt_creator.name for trt_creator in trt_registry.plugin_creator_list}
        return set()

    def load(self, inventory: Inventory, name: str, content: bytes) -> Engine:
        """Deserialise an engine.

        Args:
            inventory: of the GPU that is current, see `edged.gpu.cuda.CudaGpu.inventory`.
            name: for messages: the file, or the engine's key.
            content: of the engine's file, see `edged.gpu.plan_file`. Only files that edged itself built and checked: a
                plan can hold code.

        Raises:
            EngineError: TensorRT does not take it.
            GpuMemoryError: it does not fit into the GPU's memory.
        """
        front, plan = unpacked_plan(content, name)
        engine = self._deserialised(inventory, name, plan)
        if front is None:
            return engine
        try:
            return with_kernel(inventory, engine, front)
        except BaseException:
            engine.close()
            raise

    def _deserialised(self, inventory: Inventory, name: str, plan: memoryview) -> TrtEngine:
        if self._runtime is None:
            self._runtime = self.trt.Runtime(self.logger)
        trt_runtime = self._runtime
        self.messages.clear()
        trt_engine = trt_runtime.deserialize_cuda_engine(plan)
        if trt_engine is None:
            if self.messages.memory_ran_out:
                raise failure(OUT_OF_MEMORY, f"loading engine {name}")
            raise EngineError(
                f"TensorRT {self.version} does not take this engine: {self.messages.reason()}",
                where=name,
                remedy="build it again on this device with edged-build-engine",
            )
        return TrtEngine(self.trt, self.messages, inventory, name, trt_engine, len(plan))

    def _load_plugin(self, path: Path) -> None:
        if not path.is_file():
            raise EngineError("there is no such plugin library", where=str(path), remedy="correct the path")
        trt_registry = self.trt.get_plugin_registry()
        self.messages.clear()
        if trt_registry.load_library(str(path)) is None:
            raise EngineError(
                f"the plugin library cannot be loaded: {self.messages.reason()}",
                where=str(path),
                remedy="check that it was built for this TensorRT and that no operator of it is registered already",
            )


def network_flags(trt: Any, strongly_typed: bool) -> int:
    """Flags for a network with its batch as a dimension; what a version does not name is the only way it has."""
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None) if strongly_typed else None
    # The flags' numbers differ between versions.
    return sum(1 << int(flag) for flag in (explicit, strong) if flag is not None)
