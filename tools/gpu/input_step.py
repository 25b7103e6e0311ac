# SPDX-License-Identifier: Apache-2.0
"""What the input step costs: the engine with its kernel against the engine alone, on buffers of the device."""

from __future__ import annotations

from contextlib import ExitStack, closing
from statistics import median
from typing import Any

from edged.gpu.plan_file import unpacked_plan
from tools.gpu.fast import Alone
from tools.gpu.rig import Host

TARGET = 0.05
_ROUND_S = 0.2


def input_step(host: Host, model: str, precision: str, batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds with and without, in alternating rounds; medians, and the share of the engine's time."""
    content = host.plan(model, precision)
    _, plan = unpacked_plan(content, model)
    times: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ways = {}
        for name, own in (("with", content), ("without", bytes(plan))):
            engine = host.library.load(host.gpu.inventory, f"{model} {name}", own)
            stack.enter_context(closing(engine))
            ways[name] = Alone(host.gpu, engine, batch, stack)
        for way in ways.values():
            way.run(20)
        count = max(10, int(_ROUND_S / (ways["with"].run(20) / 20)))
        for _ in range(rounds):
            for name, way in ways.items():
                times.setdefault(name, []).append(way.run(count) / count)
    whole, alone = median(times["with"]), median(times["without"])
    shares = [one / other - 1 for one, other in zip(times["with"], times["without"], strict=True)]
    return {
        "ok": whole / alone - 1 <= TARGET,
        "target": TARGET,
        "share": round(whole / alone - 1, 4),
        "spread": [round(min(shares), 4), round(max(shares), 4)],
        "with_ms": round(whole * 1e3, 4),
        "without_ms": round(alone * 1e3, 4),
    }
