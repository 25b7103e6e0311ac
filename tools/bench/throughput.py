# SPDX-License-Identifier: Apache-2.0
"""Fast: frames a second through the whole daemon, against a bare loop over the same graph and against a plain script.

Rounds alternate, and no two contestants run at the same time: each round starts a daemon of its own and ends it before
the other side's turn. (Stopping a daemon with signals instead would leave its wake-ups and locks in states that do not
occur in use.) Start-up is left out on every side: only the steady part of a round is counted.

- frames: a lossless source that repeats pictures drawn before, at the model's input size, against inference alone: the
  same prepared graph and batch, inputs and outputs bound beforehand. Three loops: one run after the other on all cores
  ("bare loop"), the same with ONNX Runtime's own defaults, whose idle threads spin, and as many runs side by side as
  the daemon has ("side by side"): the most that the machine gives.
- video: the whole file, lossless, against ``tools.bench.plain_script``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import zmq

from edged.graph.prepare import PreparedModel, prepare
from edged.messages import Prediction, Stats
from edged.model_file import load_spec
from edged.stages.infer.ort import open_session, threads_of_a_run
from tools.bench import harness
from tools.bench.costs import Cost, report_costs, stage_costs
from tools.bench.report import Report, Spread

_SETTLE_S = 1.5
_CACHED = 32
_SKIP = 10
_VIDEO = "video/people-720p50.avi"
_END_S = 120.0


class SideBySide:
    """Several bare loops at a time on one session, as the daemon arranges its runs."""

    def __init__(self, prepared: PreparedModel, batch: int, threads: int, parallel: int) -> None:
        session = open_session(Path(prepared.path), threads or threads_of_a_run(parallel))
        self._loops = [BareLoop(prepared, batch, threads, session=session) for _ in range(parallel)]

    def run(self, seconds: float) -> tuple[float, float]:
        """Frames a second, and CPU seconds a frame, over a time."""
        cpu = time.process_time()
        with ThreadPoolExecutor(len(self._loops)) as pool:
            rates = [rate for rate, _ in pool.map(lambda loop: loop.run(seconds), self._loops)]
        return sum(rates), (time.process_time() - cpu) / (sum(rates) * seconds)


class BareLoop:
    """Inference and nothing else.

    Args:
        prepared: the graph.
        batch: frames of a run.
        threads: threads of a run.
        spin: ONNX Runtime's defaults, instead of the daemon's session options.
        session: one that is open already.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        batch: int,
        threads: int,
        *,
        spin: bool = False,
        session: onnxruntime.InferenceSession | None = None,
    ) -> None:
        self._batch = batch
        graph = Path(prepared.path)
        if session is not None:
            self._session = session
        elif spin:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        else:
            self._session = open_session(graph, threads)
        pictures = np.random.default_rng(0).integers(0, 256, (4, batch, *prepared.input_size, 3), np.uint8)
        outputs = [np.empty((batch, *spec.shape), spec.dtype) for spec in prepared.outputs]
        self._keep = (pictures, outputs)
        self._bindings = []
        for picture in pictures:
            binding = self._session.io_binding()
            binding.bind_input("frames", "cpu", 0, np.uint8, picture.shape, picture.ctypes.data)
            for spec, array in zip(prepared.outputs, outputs, strict=True):
                binding.bind_output(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            self._bindings.append(binding)

    def run(self, seconds: float) -> tuple[float, float]:
        """Frames a second, and CPU seconds a frame, over a time."""
        for binding in self._bindings:
            self._session.run_with_iobinding(binding)
        runs, start, cpu = 0, time.monotonic(), time.process_time()
        while (took := time.monotonic() - start) < seconds:
            self._session.run_with_iobinding(self._bindings[runs % len(self._bindings)])
            runs += 1
        frames = runs * self._batch
        return frames / took, (time.process_time() - cpu) / frames


def settings_of(arguments: argparse.Namespace, spec: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Settings of a daemon with one lossless source that misses nothing."""
    return {
        "sources": [{"name": "a", "mode": "lossless", **source}],
        "model": {"spec": str(spec)},
        "engine": {"max_batch": arguments.batch, "threads": arguments.threads, "slots": arguments.slots},
        "publish": {"wait_for_subscribers": 1},
    }


def cached_round(
    arguments: argparse.Namespace, folder: Path, spec: Path, size: tuple[int, int]
) -> tuple[float, float, Stats, Stats]:
    """One turn of the daemon on frames drawn before: frames/s, CPU seconds a frame, first and last statistics."""
    uri = f"synthetic://shapes?size={size[1]}x{size[0]}&cache={_CACHED}&seed=1"
    with (
        harness.running(folder, settings_of(arguments, spec, {"uri": uri})) as daemon,
        daemon.subscriber() as subscriber,
    ):
        harness.wait_for_prediction(daemon, subscriber)
        harness.receive_for(daemon, subscriber, min(_SETTLE_S, arguments.seconds))
        before = harness.wait_for_stats(daemon, subscriber)
        pids = harness.family(daemon).values()
        cpu = sum(map(harness.cpu_s, pids))
        messages = harness.receive_for(daemon, subscriber, arguments.seconds)
        cpu = sum(map(harness.cpu_s, pids)) - cpu
        after = harness.wait_for_stats(daemon, subscriber)
        daemon.terminate()
    predictions = [message for message in messages if isinstance(message, Prediction)]
    return harness.rate_hz(predictions), cpu / len(predictions), before, after


def compare_frames(arguments: argparse.Namespace, report: Report, folder: Path, spec: Path) -> None:
    """The daemon on frames drawn before, against the bare loop."""
    prepared = prepare(load_spec(spec), folder / "state" / "prepared")
    bare = BareLoop(prepared, arguments.batch, arguments.threads)
    spinning = BareLoop(prepared, arguments.batch, arguments.threads, spin=True)
    opponents: dict[str, BareLoop | SideBySide] = {
        "bare": bare,
        "spin": spinning,
        "beside": SideBySide(prepared, arguments.batch, arguments.threads, len(os.sched_getaffinity(0))),
    }
    rounds: list[dict[str, float]] = []
    costs = []
    for number in range(arguments.rounds):
        turn: dict[str, float] = {}
        for side in ("daemon", *opponents) if number % 2 else (*opponents, "daemon"):
            if side == "daemon":
                turn["daemon"], turn["daemon_cpu"], first, last = cached_round(
                    arguments, folder, spec, prepared.input_size
                )
                costs.append(stage_costs(first, last))
            else:
                turn[side], turn[f"{side}_cpu"] = opponents[side].run(arguments.seconds)
        rounds.append(turn)
        print(f"round {number + 1}: daemon {turn['daemon']:.2f}, bare loop {turn['bare']:.2f} frames/s", flush=True)
    report_frames(report, rounds, costs)


def report_frames(report: Report, rounds: list[dict[str, float]], costs: list[dict[str, Cost]]) -> None:
    """Add what `compare_frames` measured to the report."""
    report.details["frames"] = rounds
    report.add("daemon ÷ bare loop", Spread.of([turn["daemon"] / turn["bare"] for turn in rounds]), at_least=0.93)
    report.add("daemon ÷ bare loop that spins", Spread.of([turn["daemon"] / turn["spin"] for turn in rounds]))
    report.add("daemon ÷ loops side by side", Spread.of([turn["daemon"] / turn["beside"] for turn in rounds]))
    report.add("daemon", Spread.of([turn["daemon"] for turn in rounds]), "frames/s")
    report.add("loops side by side", Spread.of([turn["beside"] for turn in rounds]), "frames/s")
    report.add("bare loop", Spread.of([turn["bare"] for turn in rounds]), "frames/s")
    report.add("daemon, all processes: CPU", Spread.of([turn["daemon_cpu"] * 1e3 for turn in rounds]), "ms/frame")
    report.add("loops side by side: CPU", Spread.of([turn["beside_cpu"] * 1e3 for turn in rounds]), "ms/frame")
    report.add("bare loop: CPU", Spread.of([turn["bare_cpu"] * 1e3 for turn in rounds]), "ms/frame")
    middle = {stage: np.median([cost[stage] for cost in costs], axis=0) for stage in costs[0]}
    report_costs(report, {stage: Cost(float(wall), float(cpu)) for stage, (wall, cpu) in middle.items()})


def video_round(arguments: argparse.Namespace, folder: Path, spec: Path, video: Path) -> dict[str, float]:
    """One turn of the daemon on a whole video: frames a second, frames and objects."""
    settings = settings_of(arguments, spec, {"uri": f"file://{video}"})
    with harness.running(folder, settings, ["--exit-when-done"]) as daemon, daemon.subscriber() as subscriber:
        messages = [received.message for received in harness.until_ended(daemon, subscriber)]
        code = daemon.wait()
        if code:
            sys.exit(f"the daemon ended with {code}:\n{daemon.output}")
    predictions = [message for message in messages if isinstance(message, Prediction)]
    objects = sum(len(message.detections or []) for message in predictions)
    return {
        "daemon": harness.rate_hz(predictions[_SKIP:]),
        "daemon_frames": len(predictions),
        "daemon_objects": objects,
    }


def script_round(arguments: argparse.Namespace, folder: Path, video: Path) -> dict[str, float]:
    """One turn of the plain script on a whole video, with a subscriber that reads: as `video_round`."""
    endpoint = f"ipc://{folder}/script.sock"
    model = harness.needed_data() / "yolox-nano"
    command = [sys.executable, "-m", "tools.bench.plain_script", str(video), "--model", str(model)]
    command += ["--threads", str(arguments.threads), "--bind", endpoint, "--skip", str(_SKIP)]
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe("")
        socket.connect(endpoint)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
        while process.poll() is None:
            if socket.poll(200):
                socket.recv_multipart()
        output, _ = process.communicate(timeout=_END_S)
    if process.returncode:
        sys.exit(f"the plain script ended with {process.returncode}")
    result = json.loads(output)
    return {"script": result["frames_per_s"], "script_frames": result["frames"], "script_objects": result["objects"]}


def compare_video(arguments: argparse.Namespace, report: Report, folder: Path, spec: Path) -> None:
    """The daemon on the real video, against the plain script."""
    video = harness.needed_data() / _VIDEO
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        turn: dict[str, float] = {}
        for side in ("daemon", "script") if number % 2 else ("script", "daemon"):
            if side == "daemon":
                turn |= video_round(arguments, folder, spec, video)
            else:
                turn |= script_round(arguments, folder, video)
        rounds.append(turn)
        print(f"round {number + 1}: daemon {turn['daemon']:.2f}, script {turn['script']:.2f} frames/s", flush=True)
    report.details["video"] = rounds
    report.add("video: daemon ÷ plain script", Spread.of([t["daemon"] / t["script"] for t in rounds]), at_least=1.1)
    for side in ("daemon", "script"):
        report.add(f"video: {side}", Spread.of([turn[side] for turn in rounds]), "frames/s")
        # Both decode the same frames and find the same objects, but for rounding: they do the same work.
        report.add(f"video: {side}, frames", Spread.of([turn[f"{side}_frames"] for turn in rounds]))
        report.add(f"video: {side}, objects", Spread.of([turn[f"{side}_objects"] for turn in rounds]))


def compare(arguments: argparse.Namespace, report: Report, folder: Path) -> None:
    """The parts that are asked for."""
    spec = harness.model_spec(arguments.model, folder)
    if arguments.part in ("frames", "both"):
        compare_frames(arguments, report, folder, spec)
    if arguments.part in ("video", "both"):
        compare_video(arguments, report, folder, spec)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Frames a second through the daemon, against a bare loop and a plain script.")
    parser.add_argument("--model", choices=harness.MODELS, default="yolox", help="the video needs yolox")
    parser.add_argument("--part", choices=("frames", "video", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="steady part of a turn, with frames drawn before")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of one run; 0 is the default of each side")
    parser.add_argument("--slots", type=int, default=2, help="engine.slots of the daemon")
    return harness.run("throughput", parser, argv, compare)


if __name__ == "__main__":
    sys.exit(main())
