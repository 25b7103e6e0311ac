# SPDX-License-Identifier: Apache-2.0
"""Small: CPU time of a frame, decode and inference apart, for 1 to 16 sources that share one total rate.

CPU time of all processes, less the stages ``decode`` and ``infer``, over the frames published. Live sources repeat
pictures drawn before, so that drawing does not matter, at a total rate that leaves the machine mostly idle.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edged.messages import Health, Message
from tools.bench import harness
from tools.bench.costs import cpu_of, frames_between
from tools.bench.report import Report, Spread

_SETTLE_S = 3.0
_CACHED = 8


def cost_us(arguments: argparse.Namespace, folder: Path, count: int) -> dict[str, float]:
    """CPU time per frame with some sources, microseconds, by part; ``total`` is that of all."""
    fps = arguments.rate / count
    sources = [
        {"name": f"s{number}", "uri": f"synthetic://shapes?seed={number}&fps={fps:g}&cache={_CACHED}"}
        for number in range(count)
    ]
    with (
        harness.running(folder, {"sources": sources}) as daemon,
        daemon.subscriber("v1/stats/", "v1/health/") as subscriber,
    ):
        wait_until_all_deliver(daemon, subscriber, count)
        harness.receive_for(daemon, subscriber, min(_SETTLE_S, arguments.seconds))
        before = harness.wait_for_stats(daemon, subscriber)
        pids = harness.family(daemon)
        start = {name: harness.cpu_s(pid) for name, pid in pids.items()}
        harness.receive_for(daemon, subscriber, arguments.seconds)
        after = harness.wait_for_stats(daemon, subscriber)
        spent = {name: harness.cpu_s(pid) - start[name] for name, pid in pids.items()}
        daemon.terminate()
    frames = frames_between(before, after)
    costs: dict[str, float] = {}
    for name, seconds in spent.items():
        role = name.partition(":")[0]
        costs[role] = costs.get(role, 0.0) + seconds / frames * 1e6
    costs["capture"] -= cpu_of(before, after, "decode") / frames * 1e6
    costs["infer"] -= cpu_of(before, after, "infer") / frames * 1e6
    return {**costs, "total": sum(costs.values()), "frames": frames}


def wait_until_all_deliver(daemon: harness.Daemon, subscriber: harness.Subscriber, count: int) -> None:
    """Wait until every source has had a frame published: capture processes start one after the other."""
    message: Message | None = None
    while not (
        isinstance(message, Health) and sum(source.published > 0 for source in message.sources.values()) == count
    ):
        message = harness.receive(daemon, subscriber)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("CPU time of a frame outside decode and inference, by number of sources.")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rate", type=float, default=64.0, help="of all sources together, frames/s")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    report = Report("scaling", arguments)
    rounds: list[dict[int, dict[str, float]]] = []
    with harness.folder_for_run() as folder:
        for _ in range(arguments.rounds):
            rounds.append({count: cost_us(arguments, folder, count) for count in arguments.counts})
    for count in arguments.counts:
        for part in ("capture", "infer", "publish", "supervisor", "total"):
            report.add(f"{count} sources, {part}", Spread.of([turn[count][part] for turn in rounds]), "µs/frame")
    first, last = min(arguments.counts), max(arguments.counts)
    growth = Spread.of([100 * (turn[last]["total"] / turn[first]["total"] - 1) for turn in rounds])
    report.add(f"growth from {first} to {last} sources", growth, "%", at_most=10)
    report.details["rounds"] = rounds
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
