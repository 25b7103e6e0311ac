# SPDX-License-Identifier: Apache-2.0
"""Small: proportional set size of each process of the family, without the rings that they share.

The budget of the infer process excludes the engine, which cannot be told apart from outside. So a helper process that
imports what infer imports loads and warms the same graph; what it grows by is taken for the engine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from edged.graph.prepare import prepare
from edged.model_file import load_spec
from tools.bench import harness
from tools.bench.report import Report

_BUDGET_MB = {"supervisor": 60.0, "capture": 70.0, "infer": 80.0, "publish": 80.0}
_ENGINE = """
import sys
from pathlib import Path
import edged.runtime.infer_main
from edged.graph.prepare import PreparedModel
from edged.stages.infer.ort import OnnxRuntimeExecutor
from tools.bench.harness import memory_of
import msgspec, os
prepared = msgspec.json.decode(sys.stdin.buffer.read(), type=PreparedModel)
before = memory_of(os.getpid()).own
executor = OnnxRuntimeExecutor(Path(prepared.path), prepared.outputs, slots=2, max_batch=1, threads=0)
executor.warm_up(*prepared.input_size)
executor.run_blank(1, *prepared.input_size)
print(memory_of(os.getpid()).own - before)
"""


def engine_mb(spec: Path, cache: Path) -> float:
    """Memory that a loaded and warmed graph takes in a process of its own, MB."""
    import msgspec

    prepared = msgspec.json.encode(prepare(load_spec(spec), cache))
    done = subprocess.run([sys.executable, "-c", _ENGINE], input=prepared, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def sources_of(arguments: argparse.Namespace, model: str) -> list[dict[str, object]]:
    """Scenes for the demo model; the real video, decoded as fast as sources decode, for the real detector."""
    if model == "demo":
        uri = "synthetic://shapes?seed={}&fps={:g}"
        return [{"name": f"s{n}", "uri": uri.format(n, arguments.fps)} for n in range(arguments.sources)]
    video = f"file://{harness.needed_data()}/video/people-720p50.avi"
    return [{"name": f"s{n}", "uri": video, "loop": True, "fps": arguments.fps} for n in range(arguments.sources)]


def measure(arguments: argparse.Namespace, report: Report, folder: Path, model: str) -> None:
    """One model's family, after some seconds of work."""
    spec = harness.model_spec(model, folder)
    settings = {"sources": sources_of(arguments, model), "model": {"spec": str(spec)}}
    with harness.running(folder, settings) as daemon:
        with daemon.subscriber() as subscriber:
            harness.wait_for_prediction(daemon, subscriber)
            harness.receive_for(daemon, subscriber, arguments.seconds)
            found = {name: harness.memory_of(pid) for name, pid in harness.family(daemon).items()}
        daemon.terminate()
    engine = engine_mb(spec, folder / "state" / "prepared")
    report.details[model] = {"engine_mb": engine, "processes": {name: used._asdict() for name, used in found.items()}}
    report.add(f"{model}, engine alone (in a helper)", engine, "MB")
    for name, used in found.items():
        role = name.partition(":")[0]
        without, own = ("rings and engine", used.own - engine) if role == "infer" else ("rings", used.own)
        report.add(f"{model}, {name}: without {without}", own, "MB", at_most=_BUDGET_MB[role])
        report.add(f"{model}, {name}: resident without rings", used.resident, "MB")
        report.add(f"{model}, {name}: rings", used.rings, "MB")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Memory of each process, without the rings.")
    parser.add_argument("--sources", type=int, default=2)
    parser.add_argument("--fps", type=float, default=10.0, help="of each source")
    parser.add_argument("--seconds", type=float, default=15.0, help="of work before measuring")
    return harness.run_models("memory", parser, argv, measure)


if __name__ == "__main__":
    sys.exit(main())
