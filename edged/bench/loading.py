# SPDX-License-Identifier: Apache-2.0
"""Loading the contestants' engines, those of TensorRT all on one GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from edged.bench.bays import Bay, CpuBay, GpuBay
from edged.bench.subject import Subject
from edged.errors import UsageError

_LOG = logging.getLogger("edged")


def open_bays(subjects: Sequence[Subject], stack: ExitStack) -> list[Bay]:
    """Load all contestants' engines; the stack unloads them and gives the GPU back.

    Raises:
        UsageError: they want different GPUs.
        EdgedError: an engine cannot be loaded.
    """
    on_gpu = [subject for subject in subjects if subject.on_gpu]
    if len({subject.settings.engine.device for subject in on_gpu}) > 1:
        raise UsageError("engines on different GPUs cannot share rounds", where="edged bench")
    loader = _Loader(on_gpu, stack) if on_gpu else None
    bays: list[Bay] = []
    for subject in subjects:
        bay: Bay = loader.load(subject) if loader is not None and subject.on_gpu else CpuBay(subject)
        bays.append(stack.enter_context(closing(bay)))
    return bays


class _Loader:
    """The GPU with its TensorRT, opened once for all contestants."""

    def __init__(self, subjects: Sequence[Subject], stack: ExitStack) -> None:
        from edged.gpu.cuda import CudaGpu
        from edged.gpu.trt import TensorRt

        plugins = dict.fromkeys(plugin for subject in subjects for plugin in subject.engine.plugins)
        self._gpu = CudaGpu(subjects[0].settings.engine.device)
        self._library: TensorRt | None = None
        stack.callback(self._end)
        self._library = TensorRt([Path(plugin) for plugin in plugins])

    def _end(self) -> None:
        # TensorRT's runtime goes before the context that it lives in.
        self._library = None
        for leaked in self._gpu.close():
            _LOG.error("not released on the GPU: %s", leaked)

    def load(self, subject: Subject) -> GpuBay:
        assert self._library is not None
        path = Path(subject.engine.path)
        before = self._gpu.memory().free
        engine = self._library.load(self._gpu.inventory, str(path), path.read_bytes())
        loaded = before - self._gpu.memory().free
        return GpuBay(subject, self._gpu, engine, f"tensorrt {self._library.version}", loaded)
