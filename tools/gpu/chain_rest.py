# SPDX-License-Identifier: Apache-2.0
"""One INT8 plan in several engines that differ in what computes the rest, each held against ONNX Runtime and timed.

    python -m tools.gpu.chain_rest SPEC STATE_DIR IMAGES RECIPE TIMING_CACHE RESULT.json [SECONDS]

- served: as `edged-build-engine` builds it, the rest in float16.
- fp32 rest: the rest in float32 without TF32. It rounds as ONNX Runtime does, so what differs is TensorRT's INT8.
- fp32 heads: float16, but the last convolutions and all behind them in float32.

ONNX Runtime runs the plan three ways itself: exact arithmetic on the rounded values (all else is held against that),
its own INT8 kernels, and exact with floats kept in float16, see `tools.gpu.chain_noise`: how far correct runtimes are
apart anyway. What was found is written after each engine, so that nothing is lost where time ends.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edged.engine.chain.calibrating import Subject
from edged.engine.chain.considered import plan_digest, with_graph
from edged.engine.chain.recipe import Recipe
from edged.engine.evaluate.findings import Finding
from edged.engine.images import Survey, survey
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.run import open_onnxruntime
from edged.engine.int8.write import write
from edged.engine.key import EngineKey
from edged.engine.race.entrant import Course, Entrant, Limits
from edged.engine.race.race import race
from edged.engine.toolkit import GpuToolkit
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Job, Made
from edged.gpu.trt.build import BuildOptions, BuiltEngine
from edged.gpu.trt.progress import Progress
from tools.gpu.chain_agree import compared, found_by, job_of
from tools.gpu.chain_noise import half_stored

BATCH, LEVEL = 8, 1
_RACE_S, _BUILD_S = 25.0, 90.0
Change = Callable[[BuildOptions], BuildOptions]


class Contender(NamedTuple):
    """An engine, and the workshop that made it."""

    name: str
    workshop: TrtWorkshop
    key: EngineKey
    made: Made


class VariedToolkit(GpuToolkit):
    """Builds with other options than the workshop asks for."""

    change: Change = staticmethod(lambda options: options)

    def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
        """Parse and build."""
        return super().build(model, self.change(options), progress)


def behind_heads(subject: Subject) -> tuple[str, ...]:
    """Names of the last convolutions and of all nodes behind them, without edged's own output step."""
    heads = {one.key for one in subject.view.candidates if one.default_float == "head"}
    made: set[str] = set()
    names = []
    for node in subject.model.graph.node:
        if node.name in heads or made.intersection(node.input):
            made.update(node.output)
            names.append(node.name)
    return tuple(filter(None, names))


def changes(subject: Subject) -> dict[str, Change]:
    """What differs, by engine; the most telling first."""
    heads = behind_heads(subject)
    return {
        "served": lambda options: options,
        "fp32 rest": lambda options: dataclasses.replace(options, float_rest=True),
        "fp32 heads": lambda options: dataclasses.replace(options, float_nodes=heads),
    }


def baselines(job: Job, images: Survey, graph: Any) -> tuple[list[Finding], dict[str, Any]]:
    """What ONNX Runtime finds, and how far its own ways are apart."""
    exact = found_by(job, images, open_onnxruntime(graph))
    others = {
        "int8 kernels": open_onnxruntime(graph, fused=True),
        "floats kept in float16": open_onnxruntime(half_stored(graph)),
    }
    return exact, {name: compared(job, found_by(job, images, run), exact) for name, run in others.items()}


def rest(job: Job, plan: QuantizationPlan, images: Survey, keep: Callable[[dict[str, Any]], None], end: float) -> None:
    """Build, compare and race what there is time for.

    Args:
        job: for the float model.
        plan: what is in INT8.
        images: to look at.
        keep: takes the results so far.
        end: monotonic seconds by which all should be over.
    """
    subject = Subject(job)
    graph = write(subject.model, subject.view, plan)
    quantized = with_graph(job, job.scratch / "int8.onnx")
    (job.scratch / "int8.onnx").write_bytes(graph.SerializeToString())
    results: dict[str, Any] = {"images": len(images.images), "layers in INT8": len(plan.nodes)}
    exact, results["ONNX Runtime against itself"] = baselines(job, images, graph)
    keep(results)
    toolkit = VariedToolkit(0)
    workshop = TrtWorkshop(toolkit)
    contenders: list[Contender] = []
    try:
        key = msgspec.structs.replace(workshop.key(quantized, "int8"), calibration=plan_digest("", plan.to_json()))
        for name, change in changes(subject).items():
            if contenders and time.monotonic() + _BUILD_S + _RACE_S > end:
                results[name] = {"skipped": "no time"}
                continue
            toolkit.change = change
            begin = time.monotonic()
            one = Contender(name, workshop, key, workshop.make(quantized, key))
            row: dict[str, Any] = {"build s": round(time.monotonic() - begin, 1), "layers": one.made.layers}
            with workshop.open(quantized, key, one.made) as run:
                row |= compared(job, found_by(job, images, run), exact)
            contenders.append(one)
            results[name] = row
            keep(results)
            print(name, row, flush=True)
        results["race"] = _raced(quantized, contenders, end - time.monotonic())
        keep(results)
    finally:
        workshop.close()


def _raced(job: Job, contenders: Sequence[Contender], left_s: float) -> dict[str, Any]:
    entrants = [Entrant(one.name, "int8", "tensorrt", one.workshop.stand(job, one.key, one.made)) for one in contenders]
    course = Course(outputs=job.prepared.outputs, frame=job.prepared.input_size, batches={BATCH: 1.0})
    found = race(entrants, course, Limits(seconds=min(max(left_s, 5.0), _RACE_S)))
    return {
        one.name: {
            "latency ms": round(timing.latency_ms.median, 3),
            "speed": None if one.speed is None else [round(one.speed.median, 3), round(one.speed.low, 3)],
        }
        for one in found.entries
        if (timing := one.timing(BATCH)) is not None
    } | {"rounds": found.rounds, "failed": {one.name: one.failed for one in found.entries if one.failed}}


def main(arguments: Sequence[str]) -> int:
    """Compare, and write what was found."""
    spec, state, folder, recipe, cache, result = map(Path, arguments[:6])
    end = time.monotonic() + float(arguments[6] if len(arguments) > 6 else 300)
    with tempfile.TemporaryDirectory(prefix="chain-") as scratch:
        job = job_of(spec, state, Path(scratch))
        request = msgspec.structs.replace(
            job.request, timing_cache=str(cache), batches=((1, BATCH, BATCH),), optimization_level=LEVEL
        )
        job = dataclasses.replace(job, request=request)
        plan = msgspec.json.decode(recipe.read_bytes(), type=Recipe).plan
        # Another version of onnx writes other bytes for the same graph; node names are checked all the same.
        plan = msgspec.structs.replace(plan, model=Subject(job).digest)
        plan.check(plan.model, Subject(job).view, str(recipe))
        rest(job, plan, survey([folder]), lambda found: _write(result, found), end)
    return 0


def _write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
