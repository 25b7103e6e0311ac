# SPDX-License-Identifier: Apache-2.0
"""What a backend has to bring so that engines can be built for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import onnx
from numpy.typing import NDArray

from edged.engine.half import quantized
from edged.engine.key import Backend, EngineKey, Precision
from edged.engine.manifest import GpuMemory, Plugin, Tensor
from edged.engine.protocol import BuildRequest, Tell
from edged.engine.store import file_digest
from edged.errors import EngineError
from edged.graph.prepare import PreparedModel
from edged.model import ModelSpec

if TYPE_CHECKING:
    from edged.engine.bench import Bench
    from edged.engine.race.entrant import Course, Stand

Run = Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]
"""Takes frames, uint8 [N, H, W, 3], and gives every output of the prepared graph by its name."""


@dataclass(frozen=True)
class Job:
    """One build.

    Attributes:
        request: what the user asked for.
        spec: the model spec.
        prepared: the prepared graph.
        scratch: a folder for what is needed while building.
        tell: takes what there is to say.
    """

    request: BuildRequest
    spec: ModelSpec
    prepared: PreparedModel
    scratch: Path
    tell: Tell

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The prepared graph; not to be changed."""
        return onnx.load(self.prepared.path)

    @cached_property
    def quantized(self) -> bool:
        """Whether the graph holds Q/DQ nodes."""
        return quantized(self.model)


class Made(NamedTuple):
    """A new engine.

    Attributes:
        content: its file.
        tensors: inputs and outputs.
        max_batch: most frames in a batch; None where there is no limit.
        memory: on the GPU.
        layers: after fusion; None where nobody tells.
        aux_streams: streams that a context uses beside its own.
        conversions: what had to be changed in the graph.
    """

    content: bytes
    tensors: tuple[Tensor, ...]
    max_batch: int | None
    memory: GpuMemory
    layers: int | None = None
    aux_streams: int = 0
    conversions: tuple[str, ...] = ()


class Workshop(Protocol):
    """Builds engines for one backend."""

    @property
    def backend(self) -> Backend:
        """Which one."""
        ...

    @property
    def device(self) -> dict[str, str]:
        """What it builds on, for the manifest."""
        ...

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Libraries that its engines need."""
        ...

    def key(self, job: Job, precision: Precision) -> EngineKey:
        """All that goes into the engine; quick."""
        ...

    def make(self, job: Job, key: EngineKey) -> Made:
        """Build it; may take many minutes.

        Raises:
            EngineError: it cannot be built.
        """
        ...

    def open(self, job: Job, key: EngineKey, made: Made) -> AbstractContextManager[Run]:
        """An engine that `make` made, ready to run on this device.

        Raises:
            EngineError: it does not run here.
        """
        ...

    def stand(self, job: Job, key: EngineKey, made: Made) -> Callable[[Course], Stand]:
        """What loads such an engine for a race."""
        ...

    def benches(self, job: Job) -> Sequence[Bench]:
        """Where graphs can run that only measure, the best first; the last one always can."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


def digests(paths: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Libraries with the digests of their content.

    Raises:
        EngineError: one cannot be read.
    """
    found = []
    for path in paths:
        try:
            found.append(Plugin(path=path, sha256=file_digest(Path(path))))
        except OSError as error:
            raise EngineError(
                f"the plugin library cannot be read: {error.strerror}", where=path, remedy="correct --plugin"
            ) from error
    return tuple(found)
