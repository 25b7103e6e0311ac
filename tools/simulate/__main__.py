# SPDX-License-Identifier: Apache-2.0
"""edged's batching policy against fixed windows, on a virtual clock.

    python -m tools.simulate [--loads 0.5 0.9 3] [--windows-ms 0 2 40] [--overhead 4 | --costs-ms 3 3.4 4.1 …]

Sources of 5, 15 and 30 frames a second with jitter, every other one with a pause of 500 ms before each key frame, share
a device whose batches have given costs. The policy and the cost model are those that run in edged; rings, loop and
device are simulated. The device is scaled so that the sources need the given share of its capacity.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edged.stages.collate.policy import Collator
from tools.simulate.device import Device, linear
from tools.simulate.feeds import MS, Feed, mixed, offered_hz
from tools.simulate.figures import Figures, figures_of
from tools.simulate.windows import FixedWindow
from tools.simulate.world import Policy, World, policies_of

EDGED = "edged"


def compare(
    feeds: Sequence[Feed],
    device: Device,
    *,
    windows_ms: Sequence[float] = (2.0, 40.0),
    max_delay_ms: float = 4.0,
    seed: int = 1,
    seconds: float = 60.0,
) -> dict[str, Figures]:
    """Run edged's policy and fixed windows over the same arrivals; figures by name of the policy."""
    policies = policies_of(feeds)
    contestants: dict[str, Policy] = {EDGED: Collator(policies, device.max_batch, int(max_delay_ms * MS))}
    for window in windows_ms:
        contestants[f"{window:g} ms"] = FixedWindow(policies, device.max_batch, int(window * MS))
    return {
        name: figures_of(World(feeds, device, policy, seed=seed, seconds=seconds).run(), seconds)
        for name, policy in contestants.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print."""
    given = _arguments().parse_args(argv)
    feeds = mixed(given.each, max_age_ms=given.max_age_ms, jitter_ms=given.jitter_ms)
    costs = given.costs_ms or linear(given.overhead, given.max_batch)
    offered = offered_hz(feeds, given.seed, given.seconds)
    table = Table(title=f"{len(feeds)} sources, {offered:.0f} frames/s, {given.seconds:g} s", title_justify="left")
    headings = ("load", "policy", "frames/s", "batch", "busy", "p50", "p95", "p99 ms", "dropped", "stale")
    for heading in (*headings, "Jain", "least share", "passed over"):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    found: list[dict[str, Any]] = []
    for load in given.loads:
        # Nanoseconds enough that rounding them does not matter, before the device is scaled.
        device = Device(tuple(round(cost * MS) for cost in costs), given.slots, noise=given.noise)
        device = device.of_capacity(offered / load)
        results = compare(
            feeds,
            device,
            windows_ms=given.windows_ms,
            max_delay_ms=given.max_delay_ms,
            seed=given.seed,
            seconds=given.seconds,
        )
        for name, figures in results.items():
            table.add_row(f"{load:g}" if name == EDGED else "", name, *_words(figures), end_section=False)
            found.append({"load": load, "policy": name, "cost_ns": device.cost_ns, **figures._asdict()})
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    if given.output is not None:
        given.output.write_text(json.dumps({"arguments": vars(given), "runs": found}, indent=1, default=str) + "\n")
    return 0


def _words(figures: Figures) -> list[str]:
    ages = [f"{age:.1f}" for age in figures.age_ms]
    shares = [f"{figures.dropped:.1%}", f"{figures.stale:.2%}", f"{figures.fairness:.3f}", f"{figures.least:.2f}"]
    first = [f"{figures.published_hz:.1f}", f"{figures.batch:.2f}", f"{figures.busy:.2f}"]
    return [*first, *ages, *shares, str(figures.most_passed)]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools.simulate",
        description="edged's batching policy against fixed windows, on a virtual clock",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.9, 3.0], help="share of the capacity wanted")
    parser.add_argument("--windows-ms", type=float, nargs="+", default=[0.0, 2.0, 40.0], help="to compare with")
    parser.add_argument("--each", type=int, default=4, help="sources of each rate")
    parser.add_argument("--jitter-ms", type=float, default=3.0, help="standard deviation of a frame's arrival")
    parser.add_argument("--max-age-ms", type=float, default=500.0)
    parser.add_argument("--max-delay-ms", type=float, default=4.0, help="of edged's policy")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--overhead", type=float, default=4.0, help="cost of a batch beside its frames, in frames")
    parser.add_argument("--costs-ms", type=float, nargs="+", help="of batches of 1, 2, … frames instead; scaled")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--noise", type=float, default=0.02, help="standard deviation of a batch's time, as a share")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
