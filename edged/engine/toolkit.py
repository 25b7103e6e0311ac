# SPDX-License-Identifier: Apache-2.0
"""What building for TensorRT needs of the GPU and of TensorRT, and the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray

from edged.engine.key import DeviceFacts
from edged.engine.parsers import parser_opset
from edged.engine.workshop import Run
from edged.gpu.cuda import CudaGpu
from edged.gpu.engines import EngineInfo
from edged.gpu.plain import PlainRun
from edged.gpu.trt import TensorRt
from edged.gpu.trt.build import BuildOptions, BuiltEngine, build_engine
from edged.gpu.trt.progress import Progress
from edged.graph.prepare import PreparedModel

if TYPE_CHECKING:
    from edged.engine.race.entrant import Course, Stand

_PRODUCT = "tensorrt"
_SHARE = 0.8
_SHARE_INTEGRATED = 0.5
"""Of the free memory that an engine may take where the CPU lives in the same."""


class Inspected(NamedTuple):
    """A plan that was loaded once: what it says of itself, and the memory that it kept, bytes; None without a GPU."""

    info: EngineInfo
    weight_bytes: int | None


class Plain(Protocol):
    """Runs an engine, see `edged.gpu.plain.PlainRun`."""

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; outputs are good until the next run."""
        ...


class Toolkit(Protocol):
    """A GPU with its TensorRT."""

    @property
    def facts(self) -> DeviceFacts:
        """What engines built here are tied to."""
        ...

    @property
    def device(self) -> dict[str, str]:
        """More about the GPU, for the manifest."""
        ...

    @property
    def parser_opset(self) -> int:
        """The newest opset that the parser takes."""
        ...

    @property
    def strongly_typed(self) -> bool:
        """Whether precision can come from the graph's own types."""
        ...

    @property
    def weakly_typed(self) -> bool:
        """Whether precision can be left to the builder."""
        ...

    @property
    def reports_progress(self) -> bool:
        """Whether a build tells how far it is."""
        ...

    def budget_bytes(self) -> int:
        """GPU memory that an engine may take now."""
        ...

    def unsupported(self, operators: Iterable[str]) -> list[str]:
        """Which of these operators the parser does not know."""
        ...

    def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
        """Parse and build, see `edged.gpu.trt.build.build_engine`."""
        ...

    def inspect(self, plan: bytes) -> Inspected:
        """Load a plan, and give it back."""
        ...

    def open(self, plan: bytes, prepared: PreparedModel, max_batch: int) -> AbstractContextManager[Run]:
        """Load a plan to run it, in batches of so many frames at the most."""
        ...

    def plain(self, plan: bytes) -> AbstractContextManager[Plain]:
        """Load a plan of any inputs and outputs, to run it once at a time."""
        ...

    def stand(self, plan: bytes, prepared: PreparedModel) -> Callable[[Course], Stand]:
        """What loads a plan for a race."""
        ...

    def close(self) -> None:
        """Give the GPU back."""
        ...


class LibraryToolkit:
    """The part of a toolkit that needs a TensorRT and no GPU.

    Args:
        library: TensorRT, or a drop-in.
        product: which of them: ``tensorrt`` or ``tensorrt_rtx``.
    """

    def __init__(self, library: TensorRt, product: str = _PRODUCT) -> None:
        self.library = library
        self.runtime = f"{product} {library.version}"
        self.parser_opset = parser_opset(product, library.version)
        self.strongly_typed = library.can_type_strongly
        self.weakly_typed = not library.strongly_typed_only
        self.reports_progress = library.reports_progress

    def unsupported(self, operators: Iterable[str]) -> list[str]:
        """Which of these operators neither the parser nor a plugin knows."""
        return self.library.unsupported(operators)

    def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
        """Parse and build."""
        return build_engine(self.library, model, options, progress)


class GpuToolkit(LibraryToolkit):
    """The installed TensorRT on one GPU.

    Args:
        index: number of the GPU.
        plugins: custom-operator libraries to load.

    Raises:
        DeviceUnavailableError: there is no GPU, no driver or no TensorRT.
        EngineError: a plugin cannot be loaded.
    """

    def __init__(self, index: int, plugins: tuple[str, ...] = ()) -> None:
        self._gpu = CudaGpu(index)
        super().__init__(TensorRt(map(Path, plugins)))
        device = self._gpu.device
        major, minor = divmod(device.driver, 1000)
        self._integrated = device.integrated
        self.facts = DeviceFacts(
            runtime=self.runtime,
            gpu=device.name,
            compute_capability=device.compute_capability,
            driver=f"{major}.{minor // 10}",
        )
        self.device = {
            "name": device.name,
            "multiprocessors": str(device.multiprocessors),
            "memory_bytes": str(device.total_bytes),
        }

    def budget_bytes(self) -> int:
        """A share of what is free now."""
        return int(self._gpu.memory().free * (_SHARE_INTEGRATED if self._integrated else _SHARE))

    def inspect(self, plan: bytes) -> Inspected:
        """Load a plan, and give it back; see `kept_bytes`."""
        before = self._gpu.memory().free
        engine = self.library.load(self._gpu.inventory, "the new engine", plan)
        try:
            return Inspected(engine.info, kept_bytes(before, self._gpu.memory().free, len(plan)))
        finally:
            engine.close()

    @contextmanager
    def open(self, plan: bytes, prepared: PreparedModel, max_batch: int) -> Iterator[Run]:
        """Load a plan to run it as the infer process does."""
        from edged.engine.evaluate.executors import tensorrt_run

        engine = self.library.load(self._gpu.inventory, "the new engine", plan)
        try:
            with tensorrt_run(self._gpu, engine, prepared, max_batch) as run:
                yield run
        finally:
            engine.close()

    @contextmanager
    def plain(self, plan: bytes) -> Iterator[Plain]:
        """Load a plan of any inputs and outputs."""
        engine = self.library.load(self._gpu.inventory, "what measures", plan)
        try:
            with PlainRun(self._gpu, engine) as run:
                yield run
        finally:
            engine.close()

    def stand(self, plan: bytes, prepared: PreparedModel) -> Callable[[Course], Stand]:  # noqa: ARG002 - the interface
        """What loads a plan behind the daemon's pipeline."""
        from edged.engine.race.stands import on_gpu

        return on_gpu(self._gpu, lambda: self.library.load(self._gpu.inventory, "the new engine", plan))

    def close(self) -> None:
        """Give the GPU back."""
        self._gpu.close()


def kept_bytes(before: int, after: int, plan: int) -> int:
    """What a loaded engine keeps on the GPU: what is free less than before.

    A small engine finds room in what the driver holds already, and there is no difference. Then it is the size of the
    plan, which is weights and little else.
    """
    return before - after if before > after else plan


def device_facts(index: int) -> DeviceFacts:
    """What an engine has to fit on this machine. It opens the GPU, so ask in a process that ends soon.

    Raises:
        DeviceUnavailableError: there is no GPU, no driver or no TensorRT.
    """
    toolkit = GpuToolkit(index)
    toolkit.close()
    return toolkit.facts
