# SPDX-License-Identifier: Apache-2.0
"""What runs: from the prepare child's report and the settings to what follows from both."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import msgspec

from edged.errors import ModelError
from edged.messages import EngineHealth, ModelRef
from edged.records import TensorSpec
from edged.runtime.plans import ChosenEngine, EngineWish, OutputPlan, PreparePlan, plain
from edged.runtime.setup import Setup

_DEFAULT_DELAY_MS = 4.0
_DEFAULT_BATCH = 1
_DEFAULT_BATCH_GPU = 8


class Prepared(NamedTuple):
    """What the prepare child found out, together with what follows from it.

    Attributes:
        engine: what runs.
        model: identity of the engine.
        labels: class names.
        input_size: height, width of the largest input.
        outputs: layout of the output ring.
        max_delay_ns: longest a frame waits for company.
        fixed_batch: the only batch size that the model takes, or None.
        reference: path of the prepared graph, which is the model in FP32.
        max_batch: frames of a batch at the most; the output ring may hold more, for an engine yet to come.
        generation: which of the daemon's engines this is: 0 for the first one, 1 more with every swap.
        wanted: what is to be built while this one runs, a clause; empty for nothing.
    """

    engine: ChosenEngine
    model: ModelRef
    labels: list[str]
    input_size: tuple[int, int]
    outputs: OutputPlan
    max_delay_ns: int
    fixed_batch: int | None
    reference: str = ""
    max_batch: int = 0
    generation: int = 0
    wanted: str = ""


def prepare_plan(setup: Setup, *, look_again: bool = False, key: str = "") -> dict[str, Any]:
    """Plan of the prepare child.

    Args:
        setup: of the daemon.
        look_again: a daemon that runs asks whether there is another engine for it by now.
        key: of the engine that it wants; empty for the one that the settings ask for.
    """
    engine = setup.settings.engine
    return plain(
        PreparePlan(
            spec=str(setup.settings.model.spec),
            state_dir=str(setup.settings.daemon.state_dir),
            engine=engine_wish(setup),
            threads=engine.threads,
            parallel=parallel_runs(setup),
            measure=engine.max_batch is None and not look_again,
            fall_back=engine.build == "serve-while-building" and not look_again,
            key=key,
        )
    )


def engine_wish(setup: Setup) -> EngineWish:
    """What the settings say of the engine."""
    engine = setup.settings.engine
    return EngineWish(
        backend=engine.backend, precision=engine.precision, device=engine.device, max_batch=engine.max_batch
    )


def prepared(setup: Setup, body: dict[str, Any]) -> Prepared:
    """Read the prepare child's report."""
    engine = setup.settings.engine
    model = body["model"]
    chosen = msgspec.convert(body["engine"], ChosenEngine)
    wanted = body.get("wanted") or {}
    max_batch = _batch(setup, chosen.backend, chosen.max_batch, model["fixed_batch"], body["batch"])
    # The ring stays when another engine takes over.
    later = _batch(setup, wanted.get("backend", chosen.backend), None, model["fixed_batch"], body["batch"])
    tensors = msgspec.convert(model["outputs"], tuple[TensorSpec, ...])
    height, width = model["input_size"]
    return Prepared(
        engine=chosen,
        model=ModelRef(id=setup.spec.id, engine=chosen.key, backend=chosen.backend, precision=chosen.precision),
        labels=model["labels"],
        input_size=(height, width),
        outputs=OutputPlan(slots=engine.slots + 2, max_batch=max(max_batch, later if wanted else 0), tensors=tensors),
        max_delay_ns=_delay_ns(setup, max_batch),
        fixed_batch=model["fixed_batch"],
        reference=model["path"],
        max_batch=max_batch,
        wanted=wanted.get("what", ""),
    )


def next_engine(setup: Setup, found: Prepared, body: dict[str, Any]) -> Prepared | None:
    """What runs after a swap to the engine that the prepare child has found now; None where that is what runs.

    Args:
        setup: of the daemon.
        found: what runs.
        body: the prepare child's report.

    Raises:
        ModelError: the model itself has changed, which takes a restart.
    """
    chosen, model = msgspec.convert(body["engine"], ChosenEngine), body["model"]
    if (chosen.backend, chosen.key) == (found.engine.backend, found.engine.key):
        return None
    if msgspec.convert(model["outputs"], tuple[TensorSpec, ...]) != found.outputs.tensors:
        raise ModelError("the model's outputs have changed", where=str(setup.settings.model.spec), remedy="restart")
    measured = found.max_batch if chosen.backend == found.engine.backend else 0
    batch = _batch(setup, chosen.backend, chosen.max_batch, model["fixed_batch"], measured)
    batch = min(batch, found.outputs.max_batch)
    return found._replace(
        engine=chosen,
        model=ModelRef(id=setup.spec.id, engine=chosen.key, backend=chosen.backend, precision=chosen.precision),
        max_delay_ns=_delay_ns(setup, batch),
        max_batch=batch,
        generation=found.generation + 1,
        wanted="",
    )


def _batch(setup: Setup, backend: str, engine_limit: int | None, fixed: int | None, measured: int) -> int:
    """Frames of a batch at the most."""
    fallback = _DEFAULT_BATCH if backend == "onnxruntime" else _DEFAULT_BATCH_GPU
    batch = setup.settings.engine.max_batch or (measured if backend == "onnxruntime" else 0) or fallback
    for limit in (fixed, engine_limit):
        batch = min(batch, limit or batch)
    return batch


def _delay_ns(setup: Setup, max_batch: int) -> int:
    """Longest a frame waits for company."""
    delay_ms = setup.settings.engine.max_delay_ms
    if delay_ms is None:
        delay_ms = 0.0 if max_batch == 1 else _DEFAULT_DELAY_MS
    return int(delay_ms * 1e6)


def parallel_runs(setup: Setup, cores: int | None = None) -> int:
    """How many batches ONNX Runtime runs at a time.

    A single live camera has one frame at a time, which is inferred quickest by all cores together. Where more frames
    wait at once, runs side by side give more of them a second.
    """
    if len(setup.sources) == 1 and setup.sources[0].live:
        return 1
    available = len(os.sched_getaffinity(0)) if cores is None else cores
    return max(1, min(setup.settings.engine.slots, available))


def summary(found: Prepared) -> tuple[str, str, int]:
    """Model, backend and largest batch, for the log."""
    return found.model.id, found.model.backend, found.max_batch or found.outputs.max_batch


def engine_health(found: Prepared, io: str) -> EngineHealth:
    """The engine as health shows it."""
    return EngineHealth(**msgspec.to_builtins(found.model), io=io)
