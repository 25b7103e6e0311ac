# SPDX-License-Identifier: Apache-2.0
"""Whether an INT8 engine of the store finds what ONNX Runtime finds with the same plan.

    python -m tools.gpu.chain_agree SPEC STATE_DIR IMAGES RESULT.json

TensorRT computes what is not in INT8 in float16, ONNX Runtime in float32. It is asked three times: with the arithmetic
between the rounded values in float32 (what the search counts with, and what all is held against), with its own INT8
kernels, and with floats kept in float16, see `tools.gpu.chain_noise`. How far its own three ways are apart tells what
mere rounding does; ``no further than rounding`` tells whether the engine is as near as that, but for chance.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.engine.chain.calibrating import Subject
from edged.engine.chain.recipe import Recipe
from edged.engine.evaluate.executors import tensorrt_run
from edged.engine.evaluate.findings import Classified, Detected, Finding, Reader, Run, findings
from edged.engine.evaluate.options import EvaluationOptions
from edged.engine.evaluate.pairing import WEAK, agreement, pair
from edged.engine.images import FrameBatches, Survey, survey
from edged.engine.int8.run import open_onnxruntime
from edged.engine.int8.write import write
from edged.engine.padding import at_least
from edged.engine.protocol import BuildRequest
from edged.engine.store import RECIPE_FILE, model_folder, read_current, read_engine, verify
from edged.engine.workshop import Job
from edged.gpu.cuda import CudaGpu
from edged.gpu.trt import TensorRt
from edged.graph.prepare import prepare
from edged.model_file import load_spec
from tools.gpu.chain_noise import half_stored

LEAST = {"detection": 0.99, "classification": 0.995}
IOU = 0.9
_DEVIATIONS = 3.0


def agree(job: Job, images: Survey, run: Run, plan: Any) -> dict[str, Any]:
    """Hold what runs the engine against ONNX Runtime with the same plan.

    Args:
        job: for the model.
        images: to look at.
        run: the engine.
        plan: its quantization plan.
    """
    subject = Subject(job)
    graph = write(subject.model, subject.view, plan)
    ours = found_by(job, images, run)
    exact = found_by(job, images, open_onnxruntime(graph))
    kernels = found_by(job, images, open_onnxruntime(graph, fused=True))
    rounded = found_by(job, images, open_onnxruntime(half_stored(graph)))
    row = compared(job, ours, exact)
    matched, noise = row["matched"], compared(job, rounded, exact)["matched"]
    least = LEAST[job.spec.task]
    return {
        "ok": matched >= least,
        "target": f"{least:.1%} as ONNX Runtime's INT8",
        "matched": matched,
        "no further than rounding": matched >= noise - _DEVIATIONS * _error(noise, row["of"]),
        "ONNX Runtime with float16 between": noise,
        "ONNX Runtime's int8 kernels": compared(job, kernels, exact)["matched"],
        "images": len(images.images),
        "layers in INT8": len(plan.nodes),
        "exact": row,
        "int8 kernels": compared(job, ours, kernels),
    }


def _error(part: float, count: int) -> float:
    """Standard error of the difference of two such parts."""
    return math.sqrt(2 * part * (1 - part) / max(1, count))


def compared(job: Job, ours: Sequence[Finding], theirs: Sequence[Finding]) -> dict[str, Any]:
    """Part of what two runs find that they have in common, and of how many.

    Args:
        job: for the model.
        ours: of one run, image by image.
        theirs: of the other.
    """
    if job.spec.task == "classification":
        same = [
            one.classes[:1] == other.classes[:1]
            for one, other in zip(ours, theirs, strict=True)
            if isinstance(one, Classified) and isinstance(other, Classified)
        ]
        return {"matched": round(float(np.mean(same)), 5), "differ": len(same) - sum(same), "of": len(same)}
    strong = job.spec.output.score_threshold
    pairs = [
        (one, other)
        for one, other in zip(ours, theirs, strict=True)
        if isinstance(one, Detected) and isinstance(other, Detected)
    ]
    found: dict[str, Any] = {}
    for name, iou, least in (("matched", IOU, 0.0), ("both above the threshold", IOU, strong), ("IoU 0.75", 0.75, 0.0)):
        right = np.concatenate([_right(one.above(least), other.above(least), strong, iou) for one, other in pairs])
        found[name] = round(float(right.mean()), 5) if right.size else 0.0
        found.setdefault("of", int(right.size))
    return found


def _right(one: Detected, other: Detected, strong: float, iou: float) -> Any:
    return agreement(one, other, pair(one, other, strong, iou), strong).right


def found_by(job: Job, images: Survey, run: Run) -> list[Finding]:
    """What a run finds in images."""
    options = EvaluationOptions()
    least = WEAK * job.spec.output.score_threshold
    reader = Reader(job.spec, job.prepared, options, least, len(images.images))
    fixed = job.prepared.fixed_batch
    return list(findings(run, FrameBatches(images.images, job.spec.input, fixed or options.batch), reader, fixed))


def job_of(spec: Path, state: Path, scratch: Path) -> Job:
    """A build's job, to look at its graph."""
    loaded = load_spec(spec)
    request = BuildRequest(spec=str(spec), state_dir=str(state), timing_cache=str(state / "timing.cache"))
    return Job(request, loaded, prepare(loaded, state / "prepared"), scratch, lambda _event: None)


def engine_and_plan(state: Path, model: str, backend: str = "tensorrt") -> tuple[bytes, int, int, Any]:
    """The INT8 engine of a store, the batch sizes that it takes (least, most), and its plan."""
    engines = model_folder(state, model)
    found = read_engine(engines, read_current(engines).engines[f"{backend}/int8"])
    verify(found)
    recipe = msgspec.json.decode((found.path.parent / RECIPE_FILE).read_bytes(), type=Recipe)
    profiles = found.manifest.fields.profiles
    least, most = (profiles[0].batch[0], profiles[0].batch[2]) if profiles else (1, 1)
    return found.path.read_bytes(), least, most, recipe.plan


def on_gpu(spec: Path, state: Path, folder: Path) -> dict[str, Any]:
    """The comparison, with the engine on the GPU."""
    with tempfile.TemporaryDirectory(prefix="chain-") as scratch:
        job = job_of(spec, state, Path(scratch))
        content, least, most, plan = engine_and_plan(state, job.spec.id)
        gpu, library = CudaGpu(0), TensorRt()
        engine = library.load(gpu.inventory, "int8", content)
        try:
            with tensorrt_run(gpu, engine, job.prepared, most) as run:
                return agree(job, survey([folder]), at_least(run, least), plan)
        finally:
            engine.close()
            del library
            gpu.close()


def main(arguments: Sequence[str]) -> int:
    """Compare, and write what was found."""
    spec, state, folder, result = map(Path, arguments)
    found = on_gpu(spec, state, folder)
    result.write_text(json.dumps(found, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
