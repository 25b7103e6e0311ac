# SPDX-License-Identifier: Apache-2.0
"""Sources that come and go under load: their rings are page-locked and unlocked while batches are under way."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tools.bench.swap_seen import longest_ms, published_s
from tools.gpu.swap_rig import BASE, CAMERAS, FILM, GPU_SLACK_MB, GUESTS, HOST_SLACK_MB, Reading, Rig, differences
from tools.gpu.swap_turns import missing

RATE = {"tensorrt": 0.97, "onnxruntime": 0.5, "fake": 0.5}
"""Of what a camera gives: so much has to be published. Processes that start take cores from inference on them."""
STAY_S = 1.0
_COME_S, _GO_S = 20.0, 15.0


def guests(rig: Rig, rounds: int, stay_s: float = STAY_S) -> dict[str, Any]:
    """Two sources come by ``edged reload`` and go again, so many times; the others must not notice."""
    marks, readings = rig.marks(), [rig.steady()]
    family = sorted(rig.daemon.children())
    there: list[tuple[int, int] | None] = []
    before = gone(rig)
    come_s, go_s, said = [], [], []
    for number in range(1, rounds + 1):
        begin = time.monotonic()
        said.append(rig.reload_with((*BASE, *GUESTS)))
        rig.watch.wait_for_all(GUESTS, begin, _COME_S)
        come_s.append(round(time.monotonic() - begin, 2))
        rig.watch.record(stay_s)
        there.append(rig.read().pinned)
        begin = time.monotonic()
        said.append(rig.reload_with(BASE))
        rig.watch.until(partial(all_gone, rig, [went + number for went in before]), _GO_S, "end of the guests")
        go_s.append(round(time.monotonic() - begin, 2))
        # The first round may leave something that is used again.
        readings.append(rig.steady(readings[min(1, len(readings) - 1)]))
    health = rig.watch.until_health(lambda health: health.engine is not None)
    return {
        **judged(rig, marks, readings, there),
        "same_processes": sorted(rig.daemon.children()) == family,
        "io": health.engine.io if health.engine is not None else "",
        "come_s": come_s,
        "go_s": go_s,
        "answers": sorted(set(said)),
    }


def judged(
    rig: Rig, marks: dict[str, int], readings: list[Reading], there: list[tuple[int, int] | None]
) -> dict[str, Any]:
    """Rates and pauses of the others, and what the guests have left behind."""
    seen = rig.since(marks)
    rates = {
        name: round((len(seen[name]) - 1) / (published_s(seen[name][-1]) - published_s(seen[name][0])), 2)
        for name in CAMERAS
    }
    steady = min(rates.values()) >= RATE[rig.backend] * rig.load.camera_hz
    first, last = readings[1], readings[-1]
    changed = differences(first, last)
    gpu_mb = [round(each.gpu_mb, 1) for each in readings if each.gpu_mb is not None]
    host_mb = {name: round(last.resident_mb[name] - mb, 1) for name, mb in first.resident_mb.items()}
    # A ring more for each guest while it is there, and as before when it is gone.
    before = readings[0].pinned
    rings = before is None or all(now is not None and now[0] == before[0] + len(GUESTS) for now in there)
    unlocked = all(each.pinned == before for each in readings)
    return {
        "ok": steady
        and missing(seen[FILM]) == 0
        and not changed
        and rings
        and unlocked
        and (not gpu_mb or max(gpu_mb) - min(gpu_mb) <= GPU_SLACK_MB)
        and max(host_mb.values()) <= HOST_SLACK_MB
        and not uncounted(rig),
        "target": f"others ≥ {RATE[rig.backend]:.0%} of their rate, no frame of the film missing, nothing left behind",
        "rates_hz": rates,
        "longest_camera_ms": round(max(longest_ms(seen[name]) for name in CAMERAS), 1),
        "longest_film_ms": round(longest_ms(seen[FILM]), 2),
        "film_frames_missing": missing(seen[FILM]),
        "pinned": {"without": [each.pinned for each in readings], "with": there},
        "gpu_mb": gpu_mb,
        "host_mb_more": host_mb,
        "changed": changed,
        "uncounted": uncounted(rig),
    }


def all_gone(rig: Rig, times: list[int]) -> bool:
    """Whether each guest has gone so many times."""
    return gone(rig) == times


def gone(rig: Rig) -> list[int]:
    """How often each guest has gone."""
    events = [event.source for event in rig.watch.events if event.kind == "source-removed"]
    return [events.count(name) for name in GUESTS]


def uncounted(rig: Rig) -> list[str]:
    """Guests whose last account does not add up, or is not what was received."""
    wrong = []
    for name in GUESTS:
        events = [event for event in rig.watch.events if event.kind == "source-removed" and event.source == name]
        counts = events[-1].data
        published = int(counts["published"])
        lost = sum(int(counts[reason]) for reason in ("overwritten", "stale", "decode_error", "failed", "shutdown"))
        seqs = [message.seq for message in rig.watch.predictions[name]]
        if counts["captured"] != published + lost or seqs != list(range(1, published + 1)):
            wrong.append(f"{name}: {counts}, received {len(seqs)}")
    return wrong
