# SPDX-License-Identifier: Apache-2.0
"""Cameras: real RTSP streams through a network that fails in every way, and decoders that hang and crash.

GStreamer's server plays a film (the shared video where there is one) as four cameras; a proxy before each can refuse,
reset, swallow, throttle and damage. One camera suffers, the others must not notice, and nothing may be left behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tools.bench import harness
from tools.bench.cameras_faults import measure_faults
from tools.bench.cameras_rig import Film, cameras_missing
from tools.bench.cameras_start import measure_absent, measure_refused
from tools.bench.cameras_strikes import measure_strikes
from tools.bench.report import Report

_Part = Callable[[argparse.Namespace, Report, Path, Film], None]
PARTS: dict[str, _Part] = {
    "absent": measure_absent,
    "refused": measure_refused,
    "faults": measure_faults,
    "strikes": measure_strikes,
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Real cameras behind a bad network: what is noticed, how soon all is well again.")
    parser.add_argument("--part", choices=PARTS, action="append", help="only these")
    parser.add_argument("--cycles", type=int, default=50, help="faults in a row, of all kinds in turn")
    parser.add_argument("--strikes", type=int, default=12, help="hangs and crashes in a row, of all kinds in turn")
    parser.add_argument("--outage", type=float, default=1.0, help="seconds from the notice of a fault to its end")
    parser.add_argument("--long-outage", type=float, default=30.0, help="seconds, of two more faults")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    arguments = parser.parse_args(argv)
    reason = cameras_missing()
    if reason:
        sys.exit(f"cameras: {reason}")
    report = Report("cameras", arguments)
    with harness.folder_for_run() as folder:
        film = Film.make(folder, arguments.width, arguments.height)
        for name in arguments.part or PARTS:
            PARTS[name](arguments, report, folder, film)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
