# SPDX-License-Identifier: Apache-2.0
"""Right: accuracy measured through the whole daemon, from the published messages against ground truth.

- demo: scenes of seeds that training never saw, a frame a second of the scene so that frames differ; mAP50.
- yolox: the labelled COCO images as ``dir://``, with the reference preprocessing; AP by pycocotools.

Deterministic: the same figures on every run of the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.messages import Prediction
from edged.stages.capture.shapes import ShapesScene
from tools.bench import harness
from tools.bench.report import Report
from tools.evaluate_shapes import HELD_OUT_SEEDS
from tools.shapes_map import Prediction as Found
from tools.shapes_map import Truth, map50

_REFERENCE_AP = 34.1
_TOLERANCE = 0.3
_SIZE = (640, 480)
_SCENE_FPS = 1.0


def published(folder: Path, settings: dict[str, Any]) -> Iterator[Prediction]:
    """Every prediction of a daemon whose sources end; fails if one is missing."""
    settings["publish"] = {"wait_for_subscribers": 1}
    with harness.running(folder, settings, ["--exit-when-done"]) as daemon, daemon.subscriber() as subscriber:
        for received in harness.until_ended(daemon, subscriber):
            if isinstance(received.message, Prediction):
                yield received.message
        if daemon.wait() or subscriber.lost:
            sys.exit(f"messages lost: {dict(subscriber.lost)}; the daemon's log:\n{daemon.output}")


def boxes_of(message: Prediction) -> list[Found]:
    """What was found: class, score, box."""
    return [(found.class_id, found.score, found.box) for found in message.detections or []]


def measure_demo(arguments: argparse.Namespace, folder: Path) -> tuple[float, int]:
    """mAP50 of the demo model on held-out scenes, and the number of frames."""
    seeds = list(HELD_OUT_SEEDS[: arguments.scenes])
    truths: list[list[Truth]] = []
    found: list[list[Found]] = []
    for start in range(0, len(seeds), arguments.at_once):
        part = seeds[start : start + arguments.at_once]
        query = f"fps={_SCENE_FPS:g}&size={_SIZE[0]}x{_SIZE[1]}&frames={arguments.frames}"
        sources = [
            {"name": str(seed), "uri": f"synthetic://shapes?seed={seed}&{query}", "mode": "lossless"} for seed in part
        ]
        scenes = {seed: ShapesScene(seed, *_SIZE, _SCENE_FPS) for seed in part}
        for message in published(folder, {"sources": sources}):
            truth = scenes[int(message.source)].truth(message.frame_id)
            truths.append([(shape.class_id, shape.box) for shape in truth])
            found.append(boxes_of(message))
    if len(found) != len(seeds) * arguments.frames:
        sys.exit(f"{len(found)} predictions for {len(seeds) * arguments.frames} frames")
    return map50(truths, found), len(found)


def measure_coco(folder: Path) -> tuple[float, float, int]:
    """AP and AP50 (0 to 100) of YOLOX-Nano on the labelled images, and their number."""
    data = harness.needed_data()
    # As in the reference; NMS and threshold are those of the COCO evaluation, far lower than in use.
    spec = harness.model_spec(
        "yolox", folder, pad=128, interpolation="cubic", score_threshold=0.001, iou_threshold=0.65, max_detections=300
    )
    settings = {
        "sources": [{"name": "coco", "uri": f"dir://{data}/coco-mini/val"}],
        "model": {"spec": str(spec)},
    }
    labels = json.loads((data / "coco-mini" / "val.json").read_text())
    image_ids = {image["file_name"]: image["id"] for image in labels["images"]}
    # Class numbers of the model follow the order of the categories' ids, which have gaps.
    category_ids = sorted(category["id"] for category in labels["categories"])
    results = []
    images = 0
    for message in published(folder, settings):
        images += 1
        for found in message.detections or []:
            x1, y1, x2, y2 = found.box
            results.append(
                {
                    "image_id": image_ids[str(message.frame.file)],
                    "category_id": category_ids[found.class_id],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": found.score,
                }
            )
    if images != len(image_ids):
        sys.exit(f"{images} predictions for {len(image_ids)} images")
    ap, ap50 = evaluate(data / "coco-mini" / "val.json", results)
    return ap, ap50, images


def evaluate(labels: Path, results: list[dict[str, Any]]) -> tuple[float, float]:
    """AP at IoU 0.50 to 0.95 and at 0.50, in points, by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(labels))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0]), 100 * float(evaluation.stats[1])


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Accuracy through the published messages.")
    parser.add_argument("--model", choices=(*harness.MODELS, "both"), default="both")
    parser.add_argument("--scenes", type=int, default=40, help="held-out scenes of the demo model")
    parser.add_argument("--frames", type=int, default=25, help="frames of each scene")
    parser.add_argument("--at-once", type=int, default=8, help="sources of a daemon")
    arguments = parser.parse_args(argv)
    report = Report("accuracy", arguments)
    with harness.folder_for_run() as folder:
        if arguments.model in ("demo", "both"):
            figure, frames = measure_demo(arguments, folder)
            report.add("demo model: mAP50", figure, at_least=0.95)
            report.add("demo model: frames", frames)
        if arguments.model in ("yolox", "both"):
            ap, ap50, images = measure_coco(folder)
            report.add(
                "YOLOX-Nano on COCO: AP", ap, at_least=_REFERENCE_AP - _TOLERANCE, at_most=_REFERENCE_AP + _TOLERANCE
            )
            report.add("YOLOX-Nano on COCO: AP50", ap50)
            report.add("YOLOX-Nano on COCO: images", images)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
