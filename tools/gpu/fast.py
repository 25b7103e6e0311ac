# SPDX-License-Identifier: Apache-2.0
"""Fast: the pipeline against the engine alone, in alternating rounds, and the host's time for a batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.records import Ready
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.loop_time import Measured, Timed, loop_time, machine_costs
from tools.gpu.results import attempt
from tools.gpu.rig import Host, Model, Pipe

TARGETS = {128: 0.95, 32: 0.95, 8: 0.90, 1: 0.90}
HOST_TARGET_US = 200.0
_ROUND_S = 0.25


class Alone:
    """The engine's graph, launched back to back on buffers of the device; nothing is copied."""

    def __init__(self, gpu: Gpu, engine: Engine, batch: int, stack: ExitStack) -> None:
        (given,) = engine.info.inputs
        shape = (batch, *given.ranges[0].largest[1:])
        profile = engine.info.narrowest_profile(given.name, shape)
        assert profile is not None
        self._stream = stack.enter_context(closing(gpu.stream("alone")))
        context = stack.enter_context(closing(engine.context("alone")))
        if context.profile != profile:
            context.use_profile(profile, self._stream)
        context.set_shape(given.name, shape)
        for tensor in engine.info.tensors:
            # An image may have its three channels packed as four.
            size = prod(context.shape(tensor.name)) * np.dtype(tensor.dtype).itemsize * 4 // 3
            buffer = stack.enter_context(closing(gpu.device_buffer(f"alone {tensor.name}", size)))
            context.bind(tensor.name, buffer.address)
        context.enqueue(self._stream)
        self._stream.synchronize()
        graph = gpu.capture("alone", self._stream, lambda: context.enqueue(self._stream))
        self._graph = stack.enter_context(closing(graph))

    def run(self, count: int) -> float:
        """Seconds for a number of batches."""
        begin = time.perf_counter()
        for _ in range(count):
            self._graph.launch(self._stream)
        self._stream.synchronize()
        return time.perf_counter() - begin


class Pumped:
    """Batches of frames that lie ready, through the pipeline and out of the output ring."""

    def __init__(self, pipe: Pipe, batch: int, rng: np.random.Generator) -> None:
        self.pipe = pipe
        (frames,) = pipe.fill(rng)
        self._groups: list[list[tuple[int, Ready]]] = [
            [(0, ready) for ready in frames[first : first + batch]]
            for first in range(0, len(frames) - batch + 1, batch)
        ]
        self._next = 0

    def run(self, count: int, size: Callable[[], int] | None = None) -> float:
        """Seconds for a number of batches; ``size`` makes them smaller than the largest."""
        pipe, submitted, begin = self.pipe, 0, time.perf_counter()
        spent: dict[int, list[int]] = {}
        while submitted < count or pipe.pipeline.in_flight:
            output = pipe.pipeline.output_slot() if submitted < count else None
            if output is not None:
                group = self._groups[self._next % len(self._groups)]
                self._next += 1
                submitted += 1
                pipe.pipeline.submit(output, group if size is None else group[: size()], time.monotonic_ns())
            # As in the daemon: the device gets its next batch before anything is tidied up. There, publish empties the
            # output ring in another process, and frames are freed under the lock under which the next ones are taken.
            self._tidy(spent)
            if output is None:
                delivered = pipe.pipeline.deliver(10.0, release=False)
                assert delivered is not None, "a batch was not done within 10 s"
                spent = delivered.held
        self._tidy(spent)
        return time.perf_counter() - begin

    def _tidy(self, spent: dict[int, list[int]]) -> None:
        if spent:
            slot = self.pipe.outputs.oldest()
            assert slot is not None
            self.pipe.outputs.release(slot)
            for source, slots in spent.items():
                self.pipe.tables[source].release(slots)
            spent.clear()


def ratio(gpu: Gpu, model: Model, batch: int, rounds: int, round_s: float = _ROUND_S) -> dict[str, Any]:
    """Engine alone against the pipeline with 2 and 3 slots, in alternating rounds; medians."""
    times: dict[str, list[float]] = {}
    with ExitStack() as stack:
        prepared = model.prepared
        ways: dict[str, Alone | Pumped] = {"alone": Alone(gpu, model.engine, batch, stack)}
        for slots in (2, 3):
            options = GpuOptions(slots=slots, max_batch=batch)
            pipe = Pipe(gpu, model.engine, prepared.outputs, prepared.input_size, options)
            stack.callback(pipe.close)
            ways[f"pipeline-{slots}"] = Pumped(pipe, batch, np.random.default_rng(slots))
        for way in ways.values():
            way.run(20)
        count = max(10, int(round_s / (ways["alone"].run(20) / 20)))
        for _ in range(rounds):
            for name, way in ways.items():
                times.setdefault(name, []).append(way.run(count) / count)
        ways.clear()
    alone = median(times["alone"])
    result: dict[str, Any] = {"batches_in_round": count, "rounds": rounds}
    for name, taken in times.items():
        middle = median(taken)
        result[name] = {
            "ms": round(middle * 1e3, 4),
            "spread_ms": [round(min(taken) * 1e3, 4), round(max(taken) * 1e3, 4)],
            "frames_per_s": round(batch / middle),
            "ratio": round(alone / middle, 4),
        }
    result["ok"] = result["pipeline-2"]["ratio"] >= TARGETS.get(batch, 0.9)
    return result


def host_time(gpu: Gpu, model: Model, batches: int, frames: int = 8) -> dict[str, Any]:
    """The host's microseconds for a batch of frames of as many sources, in the executor and in the whole pipeline."""
    prepared = model.prepared
    options = GpuOptions(slots=2, max_batch=frames)
    whole = []
    with Pipe(gpu, model.engine, prepared.outputs, prepared.input_size, options, sources=frames, ring_slots=3) as pipe:
        ready = pipe.fill(np.random.default_rng(8))
        timed = Timed(pipe.executor)
        pipeline = pipe.over(timed)
        for number in range(batches):
            picks = [(source, own[number % 3]) for source, own in enumerate(ready)]
            output = pipeline.output_slot()
            assert output is not None
            begin = time.perf_counter_ns()
            pipeline.submit(output, picks, 1)
            spent = time.perf_counter_ns() - begin
            # The wait is not the host's work.
            assert timed.wait(0, 10.0) or timed.wait(1, 10.0)
            begin = time.perf_counter_ns()
            assert pipeline.deliver(0.0) is not None
            whole.append(spent + time.perf_counter_ns() - begin)
            slot = pipe.outputs.oldest()
            assert slot is not None
            pipe.outputs.release(slot)
        del pipeline
    in_executor = timed.taken
    return {
        "ok": median(whole) / 1e3 <= HOST_TARGET_US,
        "executor_us": round(median(in_executor) / 1e3, 1),
        "executor_p99_us": round(float(np.percentile(in_executor, 99)) / 1e3, 1),
        "pipeline_us": round(median(whole) / 1e3, 1),
        "pipeline_p99_us": round(float(np.percentile(whole, 99)) / 1e3, 1),
    }


def whole_loop(host: Host, model: Model, batches: int = 2000) -> dict[str, dict[str, Any]]:
    """Host time of the whole loop, 8 sources in processes of their own: idle machine, busy machine, single copies."""
    prepared, cores = model.prepared, os.cpu_count() or 2
    measured = Measured(host.gpu, model.engine, prepared.outputs, prepared.input_size)
    results: dict[str, dict[str, Any]] = {"machine-us": dict(machine_costs())}

    def add(name: str, given: Measured, *, target: bool = True) -> None:
        def run() -> dict[str, Any]:
            found = loop_time(given, batches)
            return {"ok": not target or found["loop_us"] <= HOST_TARGET_US, **found}

        attempt(results, name, run)

    add("loop-8-sources", measured)
    add("loop-8-sources-busy", measured._replace(busy=cores - 1))
    # Which way of copying is quicker is the driver's affair: shown, not judged.
    results["loop-8-sources"]["batched_copies"] = host.gpu.batched_copies.works
    host.gpu.batched_copies.works = False
    add("loop-8-single-copies", measured, target=False)
    return results


def fast(folder: Path, rounds: int = 12) -> dict[str, Any]:
    """All that has to be fast."""
    # Only here: it measures with what this module defines.
    from tools.gpu.input_step import input_step

    results: dict[str, Any] = {}
    with Host(folder) as host, host.model("resnet18", "fp16") as model:
        for batch in TARGETS:
            attempt(results, f"batch-{batch}", lambda b=batch: ratio(host.gpu, model, b, rounds))  # type: ignore[misc]
        attempt(results, "host-8-frames", lambda: host_time(host.gpu, model, 1000))
        results |= whole_loop(host, model)
        for batch in (128, 8):
            attempt(results, f"input-step-{batch}", lambda b=batch: input_step(host, "resnet18", "fp16", b, rounds))  # type: ignore[misc]
    results["leaks"] = {"ok": not host.leaks, "live": [str(leak) for leak in host.leaks]}
    return results
