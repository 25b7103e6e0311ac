# SPDX-License-Identifier: Apache-2.0
"""Right: engines against ONNX Runtime on the prepared graph, and every result its own frame's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edged.stages.capture.shapes import ShapesScene
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.numbers import check_numbers
from tools.gpu.results import SkippedError, attempt
from tools.gpu.rig import Host, Pipe

BOUNDS = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 1e-2}
EXACT = 1e-5
"""FP32 arithmetic comes this near to ONNX Runtime's; with TF32 it cannot."""
_CONFIDENT = 0.4


def right(folder: Path, batches: int = 20_000) -> dict[str, Any]:
    """Everything about right results."""
    results: dict[str, Any] = {}
    with Host(folder) as host:
        for precision, sizes in (("fp32", (1, 5, 8, 32)), ("tf32", (1, 8, 32)), ("fp16", (1, 5, 8, 32, 128))):
            name = f"resnet18-{precision}"
            attempt(results, name, lambda p=precision, s=sizes: resnet(host, p, s))  # type: ignore[misc]
        attempt(results, "tf32-only-where-asked", lambda: tf32_only_where_asked(results))
        attempt(results, "shapes-fp32", lambda: shapes(host))
        for slots in (2, 3):
            for graphs in (True, False):
                name = f"numbers-{slots}-{'graphs' if graphs else 'eager'}"
                attempt(results, name, lambda s=slots, g=graphs: numbers(host, s, g, batches))  # type: ignore[misc]
        attempt(results, "numbers-staged", lambda: numbers(host, 2, True, batches // 10, io="staged"))
    results["leaks"] = {"ok": not host.leaks, "live": [str(leak) for leak in host.leaks]}
    return results


def resnet(host: Host, precision: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Largest relative difference (norm) from ONNX Runtime over batches of several sizes."""
    worst, rng = 0.0, np.random.default_rng(3)
    with host.model("resnet18", precision) as model:
        prepared = model.prepared
        session = onnxruntime.InferenceSession(prepared.path, providers=["CPUExecutionProvider"])
        frames = rng.integers(0, 256, (max(sizes), *prepared.input_size, 3), dtype=np.uint8)
        # Pictures, not noise alone: blocks of one colour.
        frames[:, :112, :112] = rng.integers(0, 256, (max(sizes), 1, 1, 3), dtype=np.uint8)
        (expected,) = session.run(None, {"frames": frames})
        options = GpuOptions(slots=2, max_batch=max(sizes))
        with Pipe(host.gpu, model.engine, prepared.outputs, prepared.input_size, options) as pipe:
            for count in sizes:
                (found,) = pipe.run(frames[:count]).values()
                worst = max(worst, _distance(found, expected[:count]))
            failures = pipe.executor.graph_failures
    bound = BOUNDS[precision]
    return {"ok": worst <= bound, "target": f"<= {bound:g}", "relative": float(worst), "graph_failures": failures}


def tf32_only_where_asked(results: dict[str, Any]) -> dict[str, Any]:
    """FP32 has FP32's error, and TF32, where it was asked for, a larger one: so the flag does what it says."""
    fp32, tf32 = (results[f"resnet18-{precision}"].get("relative") for precision in ("fp32", "tf32"))
    if fp32 is None or tf32 is None:
        raise SkippedError("needs both engines")
    return {"ok": fp32 <= EXACT < tf32, "target": f"fp32 <= {EXACT:g} < tf32", "fp32": fp32, "tf32": tf32}


def shapes(host: Host) -> dict[str, Any]:
    """The demo model's confident detections against ONNX Runtime's."""
    misses, boxes, box, score = 0, 0, 0.0, 0.0
    with host.model("shapes", "fp32") as model:
        prepared = model.prepared
        height, width = prepared.input_size
        session = onnxruntime.InferenceSession(prepared.path, providers=["CPUExecutionProvider"])
        frames = np.stack([ShapesScene(seed=7, width=width, height=height).render(index * 9) for index in range(32)])
        (expected,) = session.run(None, {"frames": frames})
        options = GpuOptions(slots=2, max_batch=8)
        with Pipe(host.gpu, model.engine, prepared.outputs, prepared.input_size, options) as pipe:
            for first in range(0, len(frames), 8):
                (found,) = pipe.run(frames[first : first + 8]).values()
                for ours, theirs in zip(found, expected[first : first + 8], strict=True):
                    one = compare(ours, theirs)
                    misses, boxes = misses + one[0], boxes + one[1]
                    box, score = max(box, one[2]), max(score, one[3])
    found_all = misses == 0 and boxes > 0
    return {"ok": found_all, "boxes": boxes, "missing": misses, "largest_px": box, "largest_score": score}


def compare(ours: NDArray[Any], theirs: NDArray[Any], pixels: float = 1.0) -> tuple[int, int, float, float]:
    """Hold confident detections ``k×6`` (box, score, class, in the graph's order) of one side against the other's.

    Returns:
        How many have no partner within ``pixels`` and 0.02 of score, how many there were, the largest distance of a
        box's edge in pixels, and the largest difference of a score, among those that have one.
    """
    confident = theirs[theirs[:, 4] >= _CONFIDENT]
    missing, edge, score = 0, 0.0, 0.0
    for row in confident:
        same = ours[ours[:, 5] == row[5]]
        apart = np.abs(same[:, :4] - row[:4]).max(axis=1, initial=0.0)
        near = (apart <= pixels) & (np.abs(same[:, 4] - row[4]) <= 0.02)
        if not near.any():
            missing += 1
            continue
        best = np.flatnonzero(near)[apart[near].argmin()]
        edge = max(edge, float(apart[best]))
        score = max(score, float(abs(same[best, 4] - row[4])))
    return missing, len(confident), edge, score


def numbers(host: Host, slots: int, graphs: bool, batches: int, io: str = "auto") -> dict[str, Any]:
    """See `tools.gpu.numbers.check_numbers`."""
    with host.model("number", "fp32") as model:
        options = GpuOptions(slots=slots, max_batch=32, graphs=graphs, io=io)
        found = check_numbers(host.gpu, model.engine, options, batches=batches, limit_s=90)
    ok = found.wrong == 0 and found.batches >= batches and not found.graph_failures
    return {"ok": ok, **found._asdict()}


def _distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest relative difference of one frame's outputs; not a number counts as infinite."""
    ours, theirs = (array.reshape(len(array), -1).astype(np.float64) for array in (found, expected))
    apart = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")
