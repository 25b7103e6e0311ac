# SPDX-License-Identifier: Apache-2.0
"""Engines out of the store, and the whole way of the infer process in one process: rings, pipeline, executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.engine.store import CURRENT_FILE, model_folder, read_current, read_engine, verify
from edged.gpu.api import Gpu, LiveObject
from edged.gpu.cuda import CudaGpu
from edged.gpu.engines import Engine
from edged.gpu.trt import TensorRt
from edged.graph.prepare import PreparedModel, prepare
from edged.model_file import load_spec
from edged.records import FrameRecord, Ready, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.shm.region import Region
from edged.stages.infer.executor import Executor
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.pipeline import SlotPipeline, Source
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor
from tools.gpu.results import SkippedError

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "edged" / "assets" / "shapes.toml"


def spec_of(folder: Path, model: str) -> Path:
    """The model spec of a model by its id."""
    return SHAPES if model == "shapes" else folder / f"{model}.toml"


class Model(NamedTuple):
    """A loaded engine with its prepared graph."""

    engine: Engine
    prepared: PreparedModel


def current_key(folder: Path, model: str, precision: str) -> str:
    """Key of the engine that is current for a model and precision.

    Raises:
        SkippedError: there is none.
    """
    engines = model_folder(folder / "state", model)
    key = read_current(engines).engines.get(f"tensorrt/{precision}") if (engines / CURRENT_FILE).is_file() else None
    if key is None:
        raise SkippedError(f"there is no engine {model}-{precision}: gpu_check.py build --only {model}-{precision}")
    return key


class Host:
    """The GPU and TensorRT of this process; `leaks` are known after the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.gpu = CudaGpu(0)
        self.library = TensorRt()
        self.leaks: tuple[LiveObject, ...] = ()

    def plan(self, model: str, precision: str) -> bytes:
        """The serialised engine that is current for a model and precision; skips where none was built."""
        found = read_engine(model_folder(self.state, model), current_key(self.folder, model, precision))
        verify(found)
        return found.path.read_bytes()

    @contextmanager
    def model(self, model: str, precision: str) -> Iterator[Model]:
        """Load an engine for a while."""
        prepared = prepare(load_spec(spec_of(self.folder, model)), self.state / "prepared")
        engine = self.library.load(self.gpu.inventory, f"{model} {precision}", self.plan(model, precision))
        try:
            yield Model(engine, prepared)
        finally:
            engine.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # TensorRT's runtime goes before the context that it lives in.
        del self.library
        self.leaks = self.gpu.close()


class Pipe:
    """Frame rings, output ring, executor and slot pipeline, as the infer process has them.

    Args:
        gpu: the device.
        engine: loaded.
        outputs: of the prepared graph.
        size: height, width of a frame.
        options: of the executor.
        sources: frame rings.
        ring_slots: of each; default so many that every slot of the executor can hold a batch, and one more waits.
    """

    def __init__(
        self,
        gpu: Gpu,
        engine: Engine,
        outputs: Sequence[TensorSpec],
        size: tuple[int, int],
        options: GpuOptions,
        *,
        sources: int = 1,
        ring_slots: int = 0,
    ) -> None:
        self.size, self.options = size, options
        slots = ring_slots or (options.slots + 1) * options.max_batch
        self.tables = [FrameTable.create(slots, size[0] * size[1] * 3, live=False) for _ in range(sources)]
        self.pixels = [FramePixels(table) for table in self.tables]
        self.outputs = OutputTable.create(OutputLayout(options.slots + 1, options.max_batch, tuple(outputs)))
        self.tensors = OutputTensors(self.outputs)
        rings = [_memory(f"frames {index}", table.region) for index, table in enumerate(self.tables)]
        rings.append(_memory("outputs", self.outputs.region))
        self.executor = TensorRtExecutor(gpu, engine, list(outputs), rings, options)
        self.pipeline = self.over(self.executor)

    def over(self, executor: Executor) -> SlotPipeline:
        """A slot pipeline over these rings."""
        sources = [Source(table, pixels, -1) for table, pixels in zip(self.tables, self.pixels, strict=True)]
        return SlotPipeline(executor, sources, self.outputs)

    def put(self, source: int) -> tuple[int, NDArray[np.uint8]] | None:
        """A slot to write into and its pixels; None where the ring is full. `commit` hands it over."""
        slot = self.tables[source].acquire()
        return None if slot is None else (slot, self.pixels[source].frame(slot, *self.size))

    def commit(self, source: int, slot: int) -> int:
        """Hand a written frame over; returns its id."""
        height, width = self.size
        return self.tables[source].commit(slot, FrameRecord(source, 0, 1, 2, width, height, width, height), 0)

    def fill(self, rng: np.random.Generator) -> list[list[Ready]]:
        """Fill all rings with noise; returns each ring's frames, which may be submitted again and again."""
        ready = []
        for source, table in enumerate(self.tables):
            for _ in range(table.layout.slots):
                place = self.put(source)
                assert place is not None
                place[1][...] = rng.integers(0, 256, place[1].shape, dtype=np.uint8)
                self.commit(source, place[0])
            ready.append(table.ready())
        return ready

    def run(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
        """What comes out for some frames, ``n×H×W×3``, all in one batch."""
        picks: list[tuple[int, Ready]] = []
        for frame in frames:
            place = self.put(0)
            assert place is not None
            place[1][...] = frame
            self.commit(0, place[0])
        output = self.pipeline.output_slot()
        assert output is not None
        picks = [(0, ready) for ready in self.tables[0].take(self.tables[0].ready())]
        self.pipeline.submit(output, picks, 0)
        assert self.pipeline.deliver(30.0) is not None, "the batch was not done in time"
        slot = self.outputs.oldest()
        assert slot is not None
        result = {name: array.copy() for name, array in self.tensors.outputs(slot, len(frames)).items()}
        self.outputs.release(slot)
        return result

    def close(self) -> None:
        """End everything, the executor first."""
        self.executor.close()
        del self.pipeline, self.pixels, self.tensors
        ends = [*(table.close for table in self.tables), self.outputs.close]
        for end in ends:
            try:
                end()
            except BufferError:  # arrays over it are alive in a caller; it ends with the process
                continue

    def __enter__(self) -> Pipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _memory(name: str, region: Region) -> RingMemory:
    return RingMemory(name, np.frombuffer(region.map, dtype=np.uint8).ctypes.data, region.size)
