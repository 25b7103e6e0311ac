# SPDX-License-Identifier: Apache-2.0
"""Many sources: 16 files of 640×360 at once, with a model that costs next to nothing.

    python -m tools.bench.many_sources --mode live
    python -m tools.bench.many_sources --seconds 300

What is left is edged itself: decoding, fitting, rings, batching, publishing. All sources must get the same rate, and a
frame must cost little besides its decoding. The model pools its input away; what its graph costs is shown, not hidden.
Lossless files are taken as fast as the cores decode: then the kernel's scheduler shares out the cores, and is fair in
the long run only: measure for five minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import onnx
from onnx import TensorProto, helper

from edged.messages import Message, Prediction, Stats
from edged.stages.capture.shapes import ShapesScene
from tools.bench import harness
from tools.bench.account import Account, subscriber_of
from tools.bench.costs import report_costs, stage_costs
from tools.bench.report import Report

_WIDTH, _HEIGHT, _FPS = 640, 360, 30
_FRAMES = 150
_SETTLE_S = 3.0
_BUDGET_US = 1000.0


def write_clip(folder: Path) -> Path:
    """A short clip of moving shapes, each frame a JPEG of its own, as USB cameras send them."""
    path = folder / "shapes.avi"
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, fourcc, _FPS, (_WIDTH, _HEIGHT))
    if not writer.isOpened():
        sys.exit("this OpenCV cannot write MJPG")
    scene = ShapesScene(1, _WIDTH, _HEIGHT, _FPS)
    for index in range(_FRAMES):
        writer.write(scene.render(index))
    writer.release()
    return path


def write_model(folder: Path, width: int, height: int) -> Path:
    """A model that reduces a frame to three numbers, and its spec."""
    graph = helper.make_graph(
        [helper.make_node("GlobalMaxPool", ["image"], ["pooled"])],
        "nothing",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "nothing.onnx")
    spec = folder / "nothing.toml"
    spec.write_text(
        'id = "nothing"\nonnx = "nothing.onnx"\ntask = "raw"\ndecoder = "raw"\n'
        f'[input]\nsize = [{height}, {width}]\nresize = "stretch"\nscale = 1.0\n'
    )
    return spec


def measure(arguments: argparse.Namespace, folder: Path, report: Report) -> Account:
    """Run the daemon and fill the report."""
    width, height = (int(word) for word in arguments.input.split("x"))
    clip = write_clip(folder)
    sources = [
        {"name": f"s{number}", "uri": f"file://{clip}", "mode": arguments.mode, "loop": True}
        for number in range(arguments.sources)
    ]
    settings: dict[str, Any] = {
        "sources": sources,
        "model": {"spec": str(write_model(folder, width, height))},
        "engine": {"max_batch": arguments.max_batch, "threads": 1},
        "publish": {"wait_for_subscribers": 1},
    }
    account = Account()
    with harness.running(folder, settings) as daemon, subscriber_of(daemon) as subscriber:
        while len(account.counted) < arguments.sources:
            account.take([harness.receive(daemon, subscriber)])
        account.take(harness.receive_for(daemon, subscriber, min(_SETTLE_S, arguments.seconds)))
        before = _stats(daemon, subscriber, account)
        pids = harness.family(daemon)
        start = sum(harness.cpu_s(pid) for pid in pids.values())
        messages = harness.receive_for(daemon, subscriber, arguments.seconds)
        spent = sum(harness.cpu_s(pid) for pid in pids.values()) - start
        account.take(messages)
        after = _stats(daemon, subscriber, account)
        account.close(daemon, subscriber)
    frames = _report(arguments, report, messages)
    costs = stage_costs(before, after)
    report_costs(report, costs)
    rest = sum(cost.cpu_us for stage, cost in costs.items() if stage not in ("decode", "infer"))
    report.add("outside decode and the model's graph: CPU of all stages", rest, "µs/frame", at_most=_BUDGET_US)
    whole = spent / frames * 1e6 - costs["decode"].cpu_us - costs["infer"].cpu_us
    report.add("the same, CPU of all processes", whole, "µs/frame")
    return account


def _stats(daemon: harness.Daemon, subscriber: harness.Subscriber, account: Account) -> Stats:
    """The next statistics; what comes before them is accounted for."""
    while True:
        message = harness.receive(daemon, subscriber)
        account.take([message])
        if isinstance(message, Stats):
            return message


def _report(arguments: argparse.Namespace, report: Report, messages: list[Message]) -> float:
    """Add rates and sizes of batches; returns the frames published in the time measured."""
    seqs: dict[str, list[int]] = {f"s{number}": [] for number in range(arguments.sources)}
    batches = []
    for message in messages:
        if isinstance(message, Prediction):
            seqs[message.source].append(message.seq)
            batches.append(message.batch)
    # By their numbers: what was lost on the way here was published all the same.
    counts = [each[-1] - each[0] + 1 for each in seqs.values()]
    rates = [count / arguments.seconds for count in counts]
    report.add("published", sum(rates), "frames/s")
    report.add("a source", sum(rates) / len(rates), "frames/s")
    report.add("rates: slowest ÷ fastest source", min(rates) / max(rates), at_least=0.95)
    report.add("frames of a batch, mean", sum(batches) / len(batches))
    report.details |= {"rates_hz": rates}
    return float(sum(counts))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Rates and costs of many file sources with a model that costs nothing.")
    parser.add_argument("--sources", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--mode", choices=("lossless", "live"), default="lossless", help="live: at the clip's 30 frames/s"
    )
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--input", default="64x36", help="what frames are fitted into, width x height")
    arguments = parser.parse_args(argv)
    report = Report("many_sources", arguments)
    with harness.folder_for_run() as folder:
        account = measure(arguments, folder, report)
    for words in account.wrong[:10]:
        print(words, file=sys.stderr)
    report.add("predictions counted", sum(account.counted.values()))
    report.add("predictions lost on the way to the subscriber", sum(account.missed.values()))
    report.add("accounts that do not add up", len(account.wrong), at_most=0)
    report.details["wrong"] = account.wrong
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
