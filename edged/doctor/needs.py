# SPDX-License-Identifier: Apache-2.0
"""What a daemon with these settings needs at least: memory, rings to page-lock, descriptors. Rough on purpose."""

from __future__ import annotations

from typing import NamedTuple

from edged.config import Settings
from edged.errors import ConfigError
from edged.model import DynamicSize, ModelSpec
from edged.model_file import load_spec
from edged.stages.capture.uri import parse

MIB = 1 << 20
_SUPERVISOR_MIB = 60
_CAPTURE_MIB = 70
_STAGE_MIB = 80  # infer, publish: each
_GPU_CONTEXT_MIB = 300
_COPIES_OF_WEIGHTS = 3  # in the file, in the runtime, and what the runtime makes of them
_BATCH_ON_GPU = 8
_CHANNELS = 3


class Needs(NamedTuple):
    """What is needed at least.

    Attributes:
        processes: how many.
        processes_bytes: their private memory.
        ring_bytes: frames between processes.
        model_bytes: weights, as often as they are held.
        gpu_bytes: a CUDA context; counts as the machine's own memory where the GPU has none.
        descriptors: open files of the busiest process.
    """

    processes: int
    processes_bytes: int
    ring_bytes: int
    model_bytes: int
    gpu_bytes: int
    descriptors: int

    @property
    def host_bytes(self) -> int:
        """Without the GPU's part."""
        return self.processes_bytes + self.ring_bytes + self.model_bytes

    def lines(self) -> list[str]:
        """The same in words."""
        return [
            f"{self.processes} processes: {self.processes_bytes // MIB} MiB",
            f"rings: {self.ring_bytes // MIB} MiB, model: {self.model_bytes // MIB} MiB",
        ]


def needs(settings: Settings) -> Needs:
    """Estimate from the settings and, where it can be read, the model spec."""
    try:
        spec: ModelSpec | None = load_spec(settings.model.spec)
    except ConfigError:
        spec = None
    sources = len(settings.sources)
    batch = settings.engine.max_batch or _BATCH_ON_GPU
    slots = settings.engine.slots
    frames = sum(slots + 2 if _live(settings, index) else (slots + 1) * batch for index in range(sources))
    return Needs(
        processes=sources + 3,
        processes_bytes=(_SUPERVISOR_MIB + sources * _CAPTURE_MIB + 2 * _STAGE_MIB) * MIB,
        ring_bytes=frames * _frame_bytes(spec),
        model_bytes=_weights(spec) * _COPIES_OF_WEIGHTS,
        gpu_bytes=_GPU_CONTEXT_MIB * MIB,
        descriptors=128 + 16 * sources,
    )


def _live(settings: Settings, index: int) -> bool:
    source = settings.sources[index]
    if source.mode is not None:
        return source.mode == "live"
    try:
        return parse(source.uri.get_secret_value()).live_by_default
    except ConfigError:
        return True


def _frame_bytes(spec: ModelSpec | None) -> int:
    if spec is None:
        return 0
    size = spec.input.size
    height, width = size.max if isinstance(size, DynamicSize) else size
    return height * width * _CHANNELS


def _weights(spec: ModelSpec | None) -> int:
    try:
        return 0 if spec is None else spec.onnx.stat().st_size
    except OSError:
        return 0
