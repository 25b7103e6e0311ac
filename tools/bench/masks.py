# SPDX-License-Identifier: Apache-2.0
"""Masks: what it costs to publish them, 513×513 of 21 classes, beside a detector's boxes.

Two daemons one after the other, each with one lossless source at a rate that both can keep: the segmentation model on
scenes of its own (``dir://``), and the demo's detector on scenes of the same size. Reported are the time of each stage
of a frame from the daemon's statistics, and the bytes of a message as it arrives. Compressing belongs to the stage
``postprocess``; how much of it that is, is measured by compressing the masks that came once more, in this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edged.messages import Mask, Prediction, Stats
from edged.stages.postprocess.mask import encode_png
from edged.stages.publish.client import Received, decode_mask
from tools.bench import harness
from tools.bench.costs import Cost, stage_costs
from tools.bench.report import Report, Spread
from tools.models.folders import ASSETS, write_images
from tools.models.scenes import scene
from tools.models.segments import HELD_OUT_SEEDS, SIDE

_STAGES = ("infer", "deliver", "take", "postprocess", "send")
_ENCODED = 50  # masks that are compressed once more


class Run(NamedTuple):
    """What one daemon did.

    Attributes:
        predictions: as they arrived.
        costs: of each stage, a frame.
    """

    predictions: list[Received]
    costs: dict[str, Cost]


def watch(folder: Path, settings: dict[str, Any]) -> Run:
    """Everything that a daemon publishes until its source ends."""
    settings["publish"] = {"wait_for_subscribers": 1}
    predictions: list[Received] = []
    stats: list[Stats] = []
    with harness.running(folder, settings, ["--exit-when-done"]) as daemon, daemon.subscriber() as subscriber:
        for received in harness.until_ended(daemon, subscriber):
            if isinstance(received.message, Prediction):
                predictions.append(received)
            elif isinstance(received.message, Stats) and predictions:
                stats.append(received.message)
        if daemon.wait() or subscriber.lost:
            sys.exit(f"messages lost: {dict(subscriber.lost)}; the daemon's log:\n{daemon.output}")
    if len(stats) < 2:
        sys.exit("the run was too short for statistics, which come once a second; take more --frames or less --fps")
    return Run(predictions, stage_costs(stats[0], stats[-1]))


def watch_masks(arguments: argparse.Namespace, folder: Path) -> Run:
    """The segmentation model on scenes that training never saw."""
    seeds = HELD_OUT_SEEDS[: arguments.frames]
    write_images(folder / "scenes", ((f"{seed}.png", scene(seed, SIDE)[0]) for seed in seeds))
    source = {"name": "a", "uri": f"dir://{folder}/scenes", "fps": arguments.fps}
    return watch(folder, {"sources": [source], "model": {"spec": str(ASSETS / "segments.toml")}})


def watch_boxes(arguments: argparse.Namespace, folder: Path) -> Run:
    """The demo's detector on scenes of the same size."""
    uri = f"synthetic://shapes?seed=1&size={SIDE}x{SIDE}&frames={arguments.frames}"
    return watch(folder, {"sources": [{"name": "a", "uri": uri, "mode": "lossless", "fps": arguments.fps}]})


def parts(received: Received) -> tuple[int, int]:
    """Bytes of a message: its JSON, and all of its blobs."""
    return len(received.raw), sum(len(blob) for blob in received.blobs)


def encoding_us(predictions: list[Received]) -> list[float]:
    """How long it takes to compress each mask, microseconds, as postprocess does it."""
    times = []
    for received in predictions[:_ENCODED]:
        mask = np.ascontiguousarray(decode_mask(received))
        start = time.perf_counter()
        encode_png(mask)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def report_run(report: Report, name: str, run: Run) -> None:
    """Add what one daemon did."""
    for stage in _STAGES:
        report.add(f"{name}, {stage}: wall", run.costs[stage].wall_us, "µs/frame")
        report.add(f"{name}, {stage}: CPU", run.costs[stage].cpu_us, "µs/frame")
    sizes = [parts(received) for received in run.predictions]
    for part, column in (("JSON", 0), ("blobs", 1)):
        report.add(f"{name}, message: {part}", Spread.of([size[column] for size in sizes]), "bytes")
    report.details[name] = {"costs": {stage: cost._asdict() for stage, cost in run.costs.items()}, "bytes": sizes}


def report_masks(report: Report, run: Run) -> None:
    """Add what is true of masks only."""
    cells = [
        m.message.mask.shape
        for m in run.predictions
        if isinstance(m.message, Prediction) and isinstance(m.message.mask, Mask)
    ]
    raw = statistics.median(height * width for height, width in cells)
    blobs = statistics.median(parts(received)[1] for received in run.predictions)
    report.add("masks, uncompressed", raw, "bytes")
    report.add("masks, compressed to", 100 * blobs / raw, "%", at_most=10.0)
    report.add("masks, compressing alone", Spread.of(encoding_us(run.predictions)), "µs")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("What it costs to publish masks, beside boxes.")
    parser.add_argument("--frames", type=int, default=80, help="of each daemon")
    parser.add_argument("--fps", type=float, default=8.0, help="of each source: low enough for both models")
    arguments = parser.parse_args(argv)
    report = Report("masks", arguments)
    runs: dict[str, Run] = {}
    contestants: dict[str, Callable[[argparse.Namespace, Path], Run]] = {"masks": watch_masks, "boxes": watch_boxes}
    for name, contestant in contestants.items():
        with harness.folder_for_run() as folder:
            runs[name] = contestant(arguments, folder)
        if len(runs[name].predictions) != arguments.frames:
            sys.exit(f"{name}: {len(runs[name].predictions)} predictions for {arguments.frames} frames")
        report_run(report, name, runs[name])
    report_masks(report, runs["masks"])
    for stage in ("postprocess", "send"):
        masks, boxes = (runs[name].costs[stage].cpu_us for name in ("masks", "boxes"))
        report.add(f"masks ÷ boxes, {stage}: CPU", masks / boxes)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
