# SPDX-License-Identifier: Apache-2.0
"""Engines that work in streams beside the main one: who gets which, in however many contexts, and that all end."""

from __future__ import annotations

from typing import Any

import pytest
from gpu_unit.executor_rig import Rig

from edged.gpu.api import Stream
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.engine import FakeContext
from edged.runtime.open_executor import memory_line
from edged.stages.infer.tensorrt import GpuFootprint


class BesideEngine(FakeEngine):
    """An engine that says it has auxiliary streams, and notes which its contexts get."""

    def __init__(self, streams: int, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.info = self.info._replace(aux_streams=streams)
        self.noted: dict[str, tuple[str, ...]] = {}

    def context(self, name: str, *, own_memory: bool = True) -> FakeContext:
        engine, made = self, super().context(name, own_memory=own_memory)

        def note(streams: list[Stream]) -> None:
            engine.noted[name] = tuple(stream.name for stream in streams)

        made.use_aux_streams = note  # type: ignore[method-assign]
        self.noted[name] = ()
        return made


class BesideGpu(FakeGpu):
    """Makes such engines."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self._beside = streams

    def engine(self, *given: Any, **named: Any) -> BesideEngine:
        plain = super().engine(*given, **named)
        plain.close()
        return BesideEngine(self._beside, plain.machine, plain.info, plain.function)


def rig_with(streams: int, contexts: int) -> tuple[Rig, BesideEngine]:
    rig = Rig(BesideGpu(streams), slots=3, contexts=contexts)
    assert isinstance(rig.engine, BesideEngine)
    return rig, rig.engine


@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_contexts_of_a_compute_stream_share_its_auxiliary_streams(contexts: int) -> None:
    rig, engine = rig_with(2, contexts)
    assert len(engine.noted) == 3 * (8 + 1), "a graph for each batch size, and one spare context, in each slot"
    for name, noted in engine.noted.items():
        lane = int(name.split()[1]) % contexts
        assert noted == (f"compute {lane}, beside 0", f"compute {lane}, beside 1")
    streams = [kind for kind, _ in _live(rig) if kind == "stream"]
    assert len(streams) == 2 + contexts * (1 + 2), "however many slots and batch sizes there are"
    for slot in range(3):
        rig.run(slot, [slot, slot + 4], [slot, 9])
    rig.end()


def test_without_auxiliary_streams_nothing_is_said_of_them() -> None:
    rig, engine = rig_with(0, 2)
    assert set(engine.noted.values()) == {()}
    assert len([kind for kind, _ in _live(rig) if kind == "stream"]) == 2 + 2
    rig.end()


def test_the_log_tells_memory_by_kind_and_context() -> None:
    mib = 1 << 20
    line = memory_line(GpuFootprint(weights=mib, activations=6 * mib, buffers=mib // 2, taken=8 * mib), 3)
    assert line == (
        "GPU memory, MiB: weights 1.0; activations 6.0 (3 context(s) of 2.0); buffers 0.5; all but the weights took 8.0"
    )


def _live(rig: Rig) -> list[tuple[str, str]]:
    return [(entry.kind, entry.name) for entry in rig.gpu.live()]
