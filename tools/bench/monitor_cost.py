# SPDX-License-Identifier: Apache-2.0
"""What monitor and metrics cost: CPU time of the supervisor with both on, and with both off.

Two daemons run side by side with the same load, so that both suffer the same disturbances. On: a reading a second,
HTTP, and a scrape every 15 s. Off: no reading and no HTTP. Each round gives both; the difference is the cost.

    python -m tools.bench.monitor_cost --check
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tools.bench import harness
from tools.bench.report import Report, Spread

_SCRAPE_S = 15.0
_TARGET_PERCENT = 1.0
_MEMORY_MB = 60.0


def settings_of(arguments: argparse.Namespace, spec: Path, *, port: int | None) -> dict[str, Any]:
    """A daemon with monitor and HTTP where it has a port, and without both where it has none."""
    sources = [
        {"name": f"s{number}", "uri": f"synthetic://shapes?fps={arguments.fps:g}&seed={number}&cache=16"}
        for number in range(arguments.sources)
    ]
    on = port is not None
    return {
        "sources": sources,
        "model": {"spec": str(spec)},
        "monitor": {"interval_s": 1.0 if on else 3600.0, "governor": "advise" if on else "off"},
        "http": {"bind": f"127.0.0.1:{port}" if on else ""},
    }


def scrape(port: int) -> int:
    """Read the metrics; how many bytes they are."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return len(answer.read())


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("CPU time of the supervisor: monitor and metrics on and off.")
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--fps", type=float, default=15.0, help="of each source")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=_SCRAPE_S, help="of a round, with one scrape")
    arguments = parser.parse_args(argv)
    report = Report("monitor cost", arguments)
    port = harness.free_port()
    with harness.folder_for_run() as folder:
        spec = harness.model_spec("demo", folder)
        for name in ("on", "off"):
            (folder / name).mkdir()
        with (
            harness.running(folder / "on", settings_of(arguments, spec, port=port)) as on,
            harness.running(folder / "off", settings_of(arguments, spec, port=None)) as off,
        ):
            measure(arguments, report, (on, off), port)
    return report.finish()


def measure(
    arguments: argparse.Namespace, report: Report, daemons: tuple[harness.Daemon, harness.Daemon], port: int
) -> None:
    """Rounds over two daemons that run, the one with everything on first."""
    for daemon in daemons:
        daemon.wait_for_log("ready after", 60.0)
    time.sleep(3.0)
    scrape(port)
    pids = [daemon.process.pid for daemon in daemons]
    rows: list[tuple[float, float]] = []
    size = 0
    for _ in range(arguments.rounds):
        begin, before = time.monotonic(), [harness.cpu_s(pid) for pid in pids]
        time.sleep(arguments.seconds / 2)
        size = scrape(port)
        time.sleep(max(0.0, begin + arguments.seconds - time.monotonic()))
        span = time.monotonic() - begin
        on, off = (100 * (harness.cpu_s(pid) - was) / span for pid, was in zip(pids, before, strict=True))
        rows.append((on, off))
    report.add("supervisor, on", Spread.of([on for on, _ in rows]), "% of a core")
    report.add("supervisor, off", Spread.of([off for _, off in rows]), "% of a core")
    cost = Spread.of([on - off for on, off in rows])
    report.add("monitor and metrics", cost, "% of a core", at_most=_TARGET_PERCENT)
    report.add("memory of the supervisor, on", harness.memory_of(pids[0]).own, "MB", at_most=_MEMORY_MB)
    report.add("memory of the supervisor, off", harness.memory_of(pids[1]).own, "MB")
    report.add("size of a scrape", size / 1000, "kB")
    report.details["rounds"] = rows


if __name__ == "__main__":
    sys.exit(main())
