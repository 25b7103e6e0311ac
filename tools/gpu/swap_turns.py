# SPDX-License-Identifier: Apache-2.0
"""Engines that take turns under load: what is seen of each swap, what it leaves behind, and the final account."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from edged.messages import Prediction
from tools.bench.swap_seen import gaps, longest_ms, pauses, published_s
from tools.gpu.swap_rig import BASE, CAMERAS, FILM, GPU_SLACK_MB, Reading, Rig, differences, leased

SWAP_S = 60.0
SWAPS_S = 100.0
"""Of all swaps back and forth; fewer are done where they take longer."""
FEWEST_ROUNDS = 2
LONGEST_MS = {"tensorrt": 250.0, "onnxruntime": 2000.0, "fake": 2000.0}
"""Of a camera, from the reload until the new engine is trusted. Without a GPU all is done on the cores that infer."""
HAND_OVER_MS = {"tensorrt": 10.0, "onnxruntime": 500.0, "fake": 500.0}
"""By so much, or two batches, the film's pause at the hand-over may be longer than its frames are apart."""


class Swap(NamedTuple):
    """One swap, seen from outside.

    Attributes:
        took_over_s: from the reload to the first prediction of the new engine.
        trusted_s: from the reload until the old process was gone.
        hand_over_ms: as the daemon says it.
        points: of agreement, likewise.
        batch_ms: of the old engine.
        film_ms: the film's pause at the hand-over.
        camera_ms: a camera's longest one there.
        longest_ms: a camera's longest one from the reload to trust.
        film_longest_ms: the film's.
        skipped: camera frames that were not published from the reload to trust.
        missing: likewise of the film.
        turns: how often the engine changed, of the source where it did most; 1 is right.
    """

    took_over_s: float
    trusted_s: float
    hand_over_ms: float
    points: float
    batch_ms: float
    film_ms: float
    camera_ms: float
    longest_ms: float
    film_longest_ms: float
    skipped: int
    missing: int
    turns: int


def one_swap(rig: Rig, key: str) -> Swap:
    """Have another engine take over, and see it through until it is trusted."""
    marks, events = rig.marks(), len(rig.watch.events)
    begin = rig.want(key)
    event = rig.outcome(events, SWAP_S)
    assert event.kind == "engine-swapped", event.text
    rig.keys.append(key)
    rig.back_after(time.monotonic())
    rig.until(rig.at_home, 20, "end of the old infer process")
    trusted_s = time.monotonic() - begin
    seen = rig.since(marks)
    film = pauses(seen[FILM], key)
    first = next(message for message in seen[FILM] if message.model.engine == key)
    return Swap(
        took_over_s=published_s(first) - begin,
        trusted_s=trusted_s,
        hand_over_ms=float(event.data["hand_over_ms"]),
        points=float(event.data["points"]),
        batch_ms=film.batch_ms,
        film_ms=film.at_boundary_ms,
        camera_ms=max(pauses(seen[name], key).at_boundary_ms for name in CAMERAS),
        longest_ms=max(longest_ms(seen[name]) for name in CAMERAS),
        film_longest_ms=film.longest_ms,
        skipped=sum(missing(seen[name]) for name in CAMERAS),
        missing=missing(seen[FILM]),
        turns=max(len(turns(each)) - 1 for each in seen.values()),
    )


def back_and_forth(rig: Rig, rounds: int, swaps: list[Swap], readings: dict[str, list[Reading]]) -> dict[str, Any]:
    """There and back under load, each time until the new engine is trusted.

    Args:
        rig: the daemon.
        rounds: how often, if time allows.
        swaps: takes what was seen.
        readings: takes a reading after each swap, by key of the engine.
    """
    end = time.monotonic() + SWAPS_S
    first, second = rig.engines.first, rig.engines.second
    readings[first], readings[second] = [leased(rig.steady())], []
    for _ in range(rounds):
        if time.monotonic() > end:
            break
        for key in (second, first):
            swaps.append(one_swap(rig, key))
            # Another engine may need more or less, but the same from one time to the next.
            like = readings[key][0] if readings[key] else None
            readings[key].append(rig.steady(like))
        print(f"round {len(swaps) // 2}: {swaps[-2:]}", flush=True)
    done, wrong = len(swaps) // 2, wrong_models(rig)
    right = all(each.turns == 1 and each.missing == 0 for each in swaps)
    return {
        "ok": done >= min(rounds, FEWEST_ROUNDS) and right and not wrong,
        "target": "each source changes engines once a swap; every prediction says whose it is",
        "rounds": done,
        "points": min(each.points for each in swaps),
        "film_frames_missing": sum(each.missing for each in swaps),
        "camera_frames_skipped": [each.skipped for each in swaps],
        "wrong_models": wrong,
        "took_over_s": _spread([each.took_over_s for each in swaps], 2),
        "trusted_s": _spread([each.trusted_s for each in swaps], 2),
    }


def pauses_of(rig: Rig, swaps: Sequence[Swap]) -> dict[str, Any]:
    """Pauses between predictions, medians and worst ones, and those of the film in batches."""
    apart_ms = 1e3 / rig.load.film_hz
    extra = [max(0.0, each.film_ms - apart_ms) for each in swaps]
    limits = [max(HAND_OVER_MS[rig.backend], 2 * each.batch_ms) for each in swaps]
    longest = max(each.longest_ms for each in swaps)
    late = sum(more > limit for more, limit in zip(extra, limits, strict=True))
    return {
        "ok": not late and longest <= LONGEST_MS[rig.backend],
        "target": f"hand-over +{HAND_OVER_MS[rig.backend]:g} ms or 2 batches, cameras {LONGEST_MS[rig.backend]:g} ms",
        "batch_ms": _spread([each.batch_ms for each in swaps], 3),
        "hand_over_ms": _spread([each.hand_over_ms for each in swaps], 3),
        "film_at_hand_over_ms": _spread([each.film_ms for each in swaps], 2),
        "beyond_its_rhythm_batches": _spread([m / each.batch_ms for m, each in zip(extra, swaps, strict=True)], 2),
        "camera_at_hand_over_ms": _spread([each.camera_ms for each in swaps], 1),
        "camera_reload_to_trust_ms": _spread([each.longest_ms for each in swaps], 1),
        "camera_reload_to_trust_batches": _spread([each.longest_ms / each.batch_ms for each in swaps], 1),
        "film_reload_to_trust_ms": _spread([each.film_longest_ms for each in swaps], 2),
        "each": [each._asdict() for each in swaps],
    }


def left_behind(rig: Rig, key: str, readings: Sequence[Reading]) -> dict[str, Any]:
    """Whether all is as at first whenever an engine is back.

    Args:
        rig: the daemon.
        key: of the engine.
        readings: whenever it ran; the first one is what the others have to be like.
    """
    first, *later = readings
    changed = {f"time {number}": found for number, each in enumerate(later, 1) if (found := differences(first, each))}
    gpu_mb = [round(each.gpu_mb - (first.gpu_mb or 0.0), 1) for each in later if each.gpu_mb is not None]
    known = rig.backend != "tensorrt" or len(gpu_mb) == len(later)
    return {
        "ok": known and not changed and all(abs(more) <= GPU_SLACK_MB for more in gpu_mb),
        "target": f"GPU memory ±{GPU_SLACK_MB:g} MB; processes, descriptors, shared and page-locked memory the same",
        "engine": "/".join(rig.manifest_fields(key)),
        "gpu_mb_at_first": first.gpu_mb and round(first.gpu_mb, 1),
        "gpu_mb_more_after_each": gpu_mb,
        "changed": changed,
        "processes": sum(first.census.processes.values()),
        "memory_files": first.census.memory_files,
        "descriptors": first.census.descriptors,
        "pinned": first.pinned,
        "infer_resident_mb": [round(each.resident_mb["infer"], 1) for each in readings],
        "supervisor_resident_mb": [round(each.resident_mb["supervisor"], 1) for each in readings],
    }


def accounts(rig: Rig) -> dict[str, Any]:
    """Stop the daemon: every number and every frame of every source is accounted for, and nothing was left behind."""
    watch, daemon = rig.watch, rig.daemon
    code = daemon.terminate()
    watch.until(lambda: watch.stopping, 10, "last health message")
    wrong: list[str] = []
    for name in BASE:
        seen = watch.predictions[name]
        try:
            watch.assert_accounted(name)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
        if gaps(seen) or seen[0].seq != 1 or watch.lost(name):
            wrong.append(f"{name}: numbers from {seen[0].seq}, {gaps(seen)} missing or twice, {watch.lost(name)} lost")
        if turns(seen) != rig.keys:
            wrong.append(f"{name}: engines {[key[:8] for key in turns(seen)]}")
    dropped = {name: source.dropped for name, source in watch.health.sources.items()}
    # What a film does not publish was in a process that was killed.
    unpublished = missing(watch.predictions[FILM])
    if unpublished > dropped[FILM].failed:
        wrong.append(f"{FILM}: {unpublished} frames missing, {dropped[FILM].failed} failed")
    log = daemon.output
    wrong += [words for words in ("Traceback", "not released on the GPU") if words in log]
    return {
        "ok": code == 0 and not wrong and not wrong_models(rig),
        "target": "exit 0; published = received, 1, 2, 3 …; captured = published + dropped; nothing left on the GPU",
        "code": code,
        "wrong": wrong,
        "wrong_models": wrong_models(rig),
        "received": {name: len(watch.predictions[name]) for name in BASE},
        "engines": [key[:8] for key in rig.keys],
        "failed": {name: each.failed for name, each in dropped.items()},
        "overwritten": {name: each.overwritten for name, each in dropped.items()},
        "stale": {name: each.stale for name, each in dropped.items()},
        "said": log[-1500:] if code or wrong else "",
    }


def missing(predictions: Sequence[Prediction]) -> int:
    """Frames between the first and the last that were not published."""
    return sum(after.frame_id - before.frame_id - 1 for before, after in pairwise(predictions))


def turns(predictions: Sequence[Prediction]) -> list[str]:
    """Keys of engines in the order in which they came, each once a turn."""
    keys = [message.model.engine for message in predictions]
    return [*keys[:1], *(after for before, after in pairwise(keys) if before != after)]


def wrong_models(rig: Rig) -> int:
    """Predictions whose engine is none that ran, or whose precision is not the one that its manifest says."""
    known = {key: rig.manifest_fields(key) for key in set(rig.keys)}
    every = (message.model for name in BASE for message in rig.watch.predictions.get(name, ()))
    return sum(known.get(model.engine) != (model.backend, model.precision) for model in every)


def _spread(values: Sequence[float], digits: int) -> list[float]:
    """Median and the largest."""
    return [round(median(values), digits), round(max(values), digits)]
