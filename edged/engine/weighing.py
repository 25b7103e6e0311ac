# SPDX-License-Identifier: Apache-2.0
"""Whether an engine that only measures is worth building, or the CPU has done the work before it would be ready.

Engines are built in the time of the CPU too, so that a slow CPU changes little in what is weighed: it is the model's
work for each of its nodes that decides. On the server of an H200 (16 cores, TensorRT 8.6 at optimisation level 0)
YOLOX-Nano, with some 400 nodes, took 26 s to calibrate in an engine against 3.3 s in ONNX Runtime, and 47 s until the
engine for the search was open, which saved 0.29 s a plan.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from edged.engine.bench import Bench
from edged.engine.protocol import Note, Tell
from edged.errors import EngineError

NODE_S = 0.06
"""To build an engine, for each node of the float graph: by the figures above."""
SWITCHED = 2.0
"""The engine of the search holds every layer twice."""
COLLECTING, ROUNDING = 2.0, 3.0
"""A run that counts histograms, and one that rounds in Q/DQ, against a run of the float graph: YOLOX-Nano on a CPU."""
FAR = 2.0
"""So many times the building has to be saved: the estimate is rough, and the engine's own runs take time as well."""
_SHORT_S = 0.5


def worthwhile(
    benches: Sequence[Bench], model: onnx.ModelProto, frames: NDArray[Any], runs: float, engines: float, tell: Tell
) -> Sequence[Bench]:
    """The benches that are worth opening, the best first.

    The time that ONNX Runtime takes is measured, on one batch, and extrapolated.

    Args:
        benches: all, the best first.
        model: the float graph.
        frames: one batch for it.
        runs: how many such batches are to be computed, counted in runs of the float graph.
        engines: how many engines of the float graph's size would have to be built.
        tell: hears why none is built.
    """
    quick = [bench for bench in benches if not bench.opens_slowly]
    if not quick or len(quick) == len(benches):
        return benches
    try:
        took = runs * _run_s(quick[0], model, frames)
    except EngineError:
        return benches
    building = engines * NODE_S * len(model.graph.node)
    if took >= FAR * building:
        return benches
    slow = benches[0].runtime.partition(" ")[0]
    tell(
        Note(f"{quick[0].runtime} needs about {took:.0f} s, {slow} about {building:.0f} s to build what would measure")
    )
    return quick


def or_last(first: Bench, benches: Sequence[Bench]) -> Sequence[Bench]:
    """One of some benches, and the last of them, which always can."""
    return [first] if first is benches[-1] else [first, benches[-1]]


def _run_s(bench: Bench, model: onnx.ModelProto, frames: NDArray[Any]) -> float:
    """Seconds of a run; of the second, where the first is too short to tell."""
    run = bench.open(model)
    took = 0.0
    for _ in range(2):
        begin = time.monotonic()
        run(frames)
        took = time.monotonic() - begin
        if took > _SHORT_S:
            break
    bench.close()
    return took
