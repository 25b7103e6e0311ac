# SPDX-License-Identifier: Apache-2.0
"""Calibration and plans on the GPU beside ONNX Runtime: whether both find the same, and how long each takes.

python -m tools.gpu.chain_measure SPEC STATE_DIR CALIB VAL RESULT.json [LABELS]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edged.engine.bench import Bench
from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.chain.calibrating import Subject
from edged.engine.chain.plans import Plans, SwitchedPlans, WrittenPlans
from edged.engine.evaluate.evaluator import Evaluator, names_of
from edged.engine.evaluate.labels import load_labels
from edged.engine.images import survey
from edged.engine.int8.calibrate import Calibration, calibrate
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.ranges import Method
from edged.engine.ort_workshop import session_run
from edged.engine.toolkit import GpuToolkit
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Job
from tools.gpu.chain_agree import job_of

CALIBRATED, RANKED = 32, 8
_METHODS: tuple[Method, ...] = ("percentile-99.99", "minmax", "entropy")
_RANGES_APART, _DISTANCES_APART = 0.01, 0.05
_DEVIATIONS = 3.0
"""Of the difference of two losses. Values between two steps fall to one or the other by the last bit of a float, and
move all behind them: the same plan in two runtimes is two draws, and a loss's error tells how far draws are apart."""
T = TypeVar("T")


def measure(job: Job, benches: Sequence[Bench], folders: Sequence[Path], labels: Path | None) -> dict[str, Any]:
    """Do the same on all benches; the last one is what the first is held against.

    Args:
        job: for the model.
        benches: the GPU's, ONNX Runtime's.
        folders: of images for calibration, and to judge by.
        labels: of the latter.
    """
    subject, calib, val = Subject(job), CalibrationSet(survey([folders[0]])), survey([folders[1]])
    truth = None if labels is None else load_labels(labels, job.spec.task, val.images, names_of(job.prepared))
    evaluator = Evaluator(job.spec, job.prepared, val, session_run(Path(job.prepared.path)), labels=truth)
    frames = list(subject.frames(calib.images[:CALIBRATED]))
    rows: list[dict[str, Any]] = []
    calibrations: list[Calibration] = []
    for bench in benches:
        row: dict[str, Any] = {}
        calibrations.append(_timed(row, "calibration s", partial(_ranges, subject, bench, frames)))
        kind: Callable[..., Plans] = SwitchedPlans if bench.opens_slowly else partial(WrittenPlans, fused=False)
        ranked = frames[:RANKED]
        plans = _timed(row, "opening s", partial(kind, subject, evaluator, bench, ranked, ranked))
        _plans(row, plans, calibrations[0])
        bench.close()
        rows.append(row)
        print(bench.runtime, {name: value for name, value in row.items() if isinstance(value, float)}, flush=True)
    return _compared(rows, calibrations, [bench.runtime for bench in benches])


def _ranges(subject: Subject, bench: Bench, frames: Sequence[Any]) -> Calibration:
    found = calibrate(subject.model, subject.view, {"all": frames}, bench.open)
    bench.close()
    return found


def _plans(row: dict[str, Any], plans: Plans, calibration: Calibration) -> None:
    nodes = calibration.view.defaults()
    some = [calibration.plan(nodes, default=method) for method in _METHODS]
    some += [calibration.plan(nodes[at : at + 1]) for at in range(0, len(nodes), max(1, len(nodes) // 8))]
    begin = time.monotonic()
    row["distances"] = [plans.distance(plan) for plan in some]
    row["a plan s"] = round((time.monotonic() - begin) / len(some), 3)
    shifts = _timed(row, "corrections s", lambda: plans.correct(some[0]))
    row["corrections"] = {key: shifts[key] for key in sorted(shifts)}
    judged: QuantizationPlan = some[0]
    found = _timed(row, "evaluation s", lambda: plans.evaluation(judged))
    row["loss"], row["error"] = found.loss, found.error or 0.0


def _timed(row: dict[str, Any], name: str, do: Callable[[], T]) -> T:
    begin = time.monotonic()
    found = do()
    row[name] = round(time.monotonic() - begin, 2)
    return found


def _compared(rows: list[dict[str, Any]], calibrations: Sequence[Calibration], names: list[str]) -> dict[str, Any]:
    tensors = calibrations[0].view.tensors
    reach = np.array([[one.threshold(name, "percentile-99.99") for name in tensors] for one in calibrations])
    distances = np.array([row.pop("distances") for row in rows])
    shifts = [np.concatenate([np.array(one) for one in row.pop("corrections").values()]) for row in rows]
    found = {
        "ranges apart": float(np.max(np.abs(reach[0] - reach[-1]) / reach[-1])),
        "distances apart": float(np.max(np.abs(distances[0] - distances[-1]) / distances[-1])),
        "corrections apart": float(np.linalg.norm(shifts[0] - shifts[-1]) / np.linalg.norm(shifts[-1])),
        "points apart": abs(rows[0]["loss"] - rows[-1]["loss"]),
        "points by chance": _DEVIATIONS * float(np.hypot(rows[0]["error"], rows[-1]["error"])),
    }
    ok = (
        found["ranges apart"] <= _RANGES_APART
        and found["distances apart"] <= _DISTANCES_APART
        and found["points apart"] <= found["points by chance"]
    )
    return {"ok": ok, "target": "the same as ONNX Runtime", **found, **dict(zip(names, rows, strict=True))}


def main(arguments: Sequence[str]) -> int:
    """Measure, and write what was found."""
    spec, state, calib, val, result, *labels = map(Path, arguments)
    with tempfile.TemporaryDirectory(prefix="chain-") as scratch:
        job = job_of(spec, state, Path(scratch))
        workshop = TrtWorkshop(GpuToolkit(0))
        try:
            found = measure(job, workshop.benches(job), [calib, val], labels[0] if labels else None)
        finally:
            workshop.close()
    result.write_text(json.dumps(found, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
