# SPDX-License-Identifier: Apache-2.0
"""The prepare child: validates the model and writes the prepared graph, so that the supervisor never loads ONNX."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edged.files import write_atomically
from edged.graph.prepare import FOLDER, PreparedModel, prepare
from edged.model_file import load_spec
from edged.runtime.choose import ForNow, choose, choose_for_now, choose_key
from edged.runtime.control import Control
from edged.runtime.plans import PreparePlan

MEASURED_UP_TO = 8


class BatchMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """The best batch size measured for a prepared graph, and under which circumstances it holds."""

    best: int
    runtime: str
    cores: int
    threads: int
    parallel: int = 1


def serve(_name: str, control: Control) -> None:
    """Prepare one model and report it."""
    control.tell("hello")
    plan = msgspec.convert(control.expect("configure").body, PreparePlan)
    spec, state_dir = Path(plan.spec), Path(plan.state_dir)
    prepared = prepare(load_spec(spec), state_dir / FOLDER)
    engine, backend, wanted = _choose(plan, prepared, state_dir, spec)
    measure = plan.measure and engine.backend == "onnxruntime" and not engine.plugins
    batch = prepared.fixed_batch or (_best_batch(prepared, plan) if measure else 0)
    body = {"model": msgspec.to_builtins(prepared), "engine": msgspec.to_builtins(engine), "batch": batch}
    control.tell("prepared", {**body, "wanted": {"backend": backend, "what": wanted} if wanted else None})


def _choose(plan: PreparePlan, prepared: PreparedModel, state_dir: Path, spec: Path) -> ForNow:
    if plan.key:
        return ForNow(choose_key(plan.key, plan.engine, prepared, state_dir, spec))
    if plan.fall_back:
        return choose_for_now(plan.engine, prepared, state_dir, spec)
    return ForNow(choose(plan.engine, prepared, state_dir, spec))


def _best_batch(prepared: PreparedModel, plan: PreparePlan) -> int:
    """Best batch size on ONNX Runtime, remembered beside the graph as long as nothing that matters changed."""
    import onnxruntime

    from edged.stages.infer.batch_size import best_batch
    from edged.stages.infer.ort import OnnxRuntimeExecutor, threads_of_a_run

    memory = Path(prepared.path).with_name("batch.json")
    cores = len(os.sched_getaffinity(0))
    known = _remembered(memory)
    facts = (onnxruntime.__version__, cores, plan.threads, plan.parallel)
    if known and (known.runtime, known.cores, known.threads, known.parallel) == facts:
        return known.best
    graph, threads = Path(prepared.path), plan.threads or threads_of_a_run(plan.parallel)
    executor = OnnxRuntimeExecutor(graph, prepared.outputs, slots=1, max_batch=MEASURED_UP_TO, threads=threads)
    height, width = prepared.input_size
    best = best_batch(lambda count: executor.run_blank(count, height, width), MEASURED_UP_TO)
    executor.close()
    found = BatchMeasurement(
        best=best, runtime=onnxruntime.__version__, cores=cores, threads=plan.threads, parallel=plan.parallel
    )
    write_atomically(memory, msgspec.json.encode(found))
    return best


def _remembered(path: Path) -> BatchMeasurement | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=BatchMeasurement)
    except (FileNotFoundError, msgspec.DecodeError):
        # Nothing known, or written by something else: it is measured again.
        return None
