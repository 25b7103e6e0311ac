# SPDX-License-Identifier: Apache-2.0
"""Trusted: what INT8 loses on held-out images, and how much of the work it does, by ``edged-build-engine`` itself.

Each model is calibrated, quantized and judged on ONNX Runtime, without a hint of which layers to spare, by the command
that users run, as a child process with a state directory of its own. What is reported stands in the engine's manifest.

- yolox: YOLOX-Nano on labelled photographs (needs the shared data), with the reference preprocessing; AP.
- demo: the detector of synthetic shapes, on scenes that training never saw; mAP50.
- digits: a classifier of 1,097 handwritten digits that training never saw; top-1.
- segments: 21 classes at 513×513, on scenes that training never saw; mIoU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.bench import harness
from tools.bench.report import Report
from tools.models import detectors, digits, segments
from tools.models.folders import DataSet

_LIMIT_S = 3600.0
_REPO = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    """What a model has to keep.

    Attributes:
        metric: by which it is judged, as the manifest names it.
        loss: most points lost.
        share: least part of the multiply-adds in INT8, 0 to 1.
        seconds: longest time of the whole build.
    """

    metric: str
    loss: float
    share: float | None = None
    seconds: float | None = None


TARGETS = {
    "yolox": Target("AP", 1.0, 0.70, 1200.0),
    "demo": Target("AP50", 0.5, 0.80),
    "digits": Target("top-1", 0.5),
    "segments": Target("mIoU", 1.0),
}


class Outcome(NamedTuple):
    """What the manifest says.

    Attributes:
        reference: of the FP32 model, points.
        value: of the engine, points.
        share: part of the multiply-adds in INT8, 0 to 1.
        images: judged by.
    """

    reference: float
    value: float
    share: float
    images: int

    @property
    def loss(self) -> float:
        """Points lost."""
        return self.reference - self.value


class AbsentError(Exception):
    """The manifest does not say what this benchmark reports."""


def prepare(part: str, folder: Path) -> DataSet:
    """Write a model's images and labels into a folder, or say where they lie."""
    if part == "yolox":
        # As in the reference, so that FP32's AP is the known one.
        spec = harness.model_spec(
            "yolox", folder, pad=128, interpolation="cubic", iou_threshold=0.65, max_detections=300
        )
        return detectors.yolox_data(spec, harness.needed_data())
    return {"demo": detectors.write_demo_data, "digits": digits.write_data, "segments": segments.write_data}[part](
        folder
    )


def command(data: DataSet, state: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command line that builds the INT8 engine of a model."""
    words = [
        sys.executable,
        "-m",
        "edged.engine.cli",
        str(data.spec),
        "--backend",
        "onnxruntime",
        "--precision",
        "int8",
    ]
    words += ["--state-dir", str(state), "--calibrate", str(data.calib), "--evaluate", str(data.val)]
    return [*words, "--labels", str(data.labels), *extra]


def build(data: DataSet, state: Path, extra: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Build; returns the manifest and how long it took, seconds. Ends the benchmark if it fails or is refused."""
    words = command(data, state, extra)
    start = time.monotonic()
    done = subprocess.run(words, cwd=_REPO, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    took = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{' '.join(words)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    manifests = list(state.glob("engines/*/*/engine.json"))
    if len(manifests) != 1:
        sys.exit(f"{len(manifests)} engines in {state} where one was built:\n{done.stdout}")
    manifest: dict[str, Any] = json.loads(manifests[0].read_text("utf-8"))
    return manifest, took


def outcome(manifest: dict[str, Any], metric: str) -> Outcome:
    """Read what this benchmark reports from ``engine.json``: the only place that knows its fields.

    Raises:
        AbsentError: a field is not there; says which.
    """
    evaluation = _field(manifest, "evaluation")
    figures = {evaluation.get("metric"): evaluation, **evaluation.get("figures", {})}
    if metric not in figures:
        raise AbsentError(f"engine.json has no figure {metric!r}, only {sorted(map(str, figures))}")
    figure = figures[metric]
    return Outcome(
        reference=_field(figure, "reference"),
        value=_field(figure, "value"),
        share=_field(_field(manifest, "int8"), "share"),
        images=_field(evaluation, "images"),
    )


def _field(holder: dict[str, Any], name: str) -> Any:
    if holder.get(name) is None:
        raise AbsentError(f"engine.json does not have {name!r} where it is expected; there is {sorted(holder)}")
    return holder[name]


def measure(part: str, folder: Path, extra: Sequence[str], report: Report) -> None:
    """Build one model's engine and report what became of it."""
    target = TARGETS[part]
    manifest, took = build(prepare(part, folder), folder / "state", extra)
    try:
        found = outcome(manifest, target.metric)
    except AbsentError as error:
        sys.exit(f"{part}: {error}")
    name = f"{part}, {target.metric}"
    report.add(f"{part}: images", found.images)
    report.add(f"{name} of FP32", found.reference, "points")
    report.add(f"{name} of INT8", found.value, "points")
    report.add(f"{name}: loss", found.loss, "points", at_most=target.loss)
    report.add(f"{part}: multiply-adds in INT8", 100 * found.share, "%", at_least=target.share and 100 * target.share)
    report.add(f"{part}: whole build", took, "s", at_most=target.seconds)
    report.details[part] = {"seconds": took, "manifest": manifest}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Accuracy lost in INT8, and the share of the work done in it.")
    parser.add_argument("--part", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--flag", action="append", default=[], help="for edged-build-engine; may be repeated")
    arguments = parser.parse_args(argv)
    report = Report("int8", arguments)
    for part in TARGETS if arguments.part == "all" else (arguments.part,):
        with harness.folder_for_run() as folder:
            measure(part, folder, arguments.flag, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
