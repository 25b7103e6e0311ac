# SPDX-License-Identifier: Apache-2.0
"""Swaps that must not come off, and ``kill -9`` in the middle of them: the engine that ran goes on."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tools.bench.swap_seen import longest_ms
from tools.gpu.results import attempt
from tools.gpu.swap_rig import CAMERAS, FILM, Rig, kill
from tools.gpu.swap_store import Wrong
from tools.gpu.swap_turns import missing, turns

REFUSED_S, SWAPPED_S = 60.0, 60.0
BACK_S = {"beside": 1.0, "standing-by": 2.0, "replaced": 20.0}
"""Within how long frames come again, on a machine of its own with a GPU."""
_SHARED = 5.0
"""How much longer it may take where two cores do it all, and others use them too."""
"""Longest without a prediction of some source: a process beside it was killed; the old engine stands by; none does."""


def faults(rig: Rig, results: dict[str, Any]) -> None:
    """All of them, one after the other."""
    for name, wrong in rig.engines.wrong.items():
        attempt(results, f"wrong-{name}", partial(refused, rig, wrong))
    attempt(results, "kill-new-loading", lambda: killed_beside(rig, "loading"))
    attempt(results, "kill-new-compared", lambda: killed_beside(rig, "compared"))
    attempt(results, "kill-new-not-trusted", lambda: killed_after(rig))
    attempt(results, "kill-serving", lambda: killed_serving(rig))
    attempt(results, "kill-serving-in-swap", lambda: killed_serving_in_swap(rig))


def refused(rig: Rig, wrong: Wrong) -> dict[str, Any]:
    """An engine that is no good: the one that runs runs on, in its process, and it is said why."""
    serving, marks, events = rig.serving(), rig.marks(), len(rig.watch.events)
    begin = rig.want(wrong.key)
    event = rig.outcome(events, REFUSED_S)
    seconds = time.monotonic() - begin
    rig.until(rig.at_home, 20, "end of a swap")
    return {
        "ok": event.kind == "engine-swap-failed"
        and wrong.words in event.text
        and event.data.get("engine", wrong.key) == wrong.key
        and rig.serving() == serving
        and untouched(rig, marks),
        "target": "refused, the reason said, no frame of the film missing",
        "seconds": round(seconds, 2),
        **pauses_since(rig, marks),
        "said": event.text,
    }


def killed_beside(rig: Rig, when: str) -> dict[str, Any]:
    """``kill -9`` of the new engine's process before it takes over."""
    serving, marks, events = rig.serving(), rig.marks(), len(rig.watch.events)
    rig.want(other(rig))
    new = candidate(rig, serving)
    if when == "compared":
        rig.until(lambda: bool(rig.daemon.children("judge")), SWAPPED_S, "judge")
    at_s = kill(new)
    event = rig.outcome(events, REFUSED_S)
    told_s = time.monotonic() - at_s
    back_s = rig.back_after(at_s)
    rig.until(rig.at_home, 20, "end of a swap")
    right = event.kind == "engine-swap-failed" and rig.serving() == serving and untouched(rig, marks)
    return {
        "ok": right and back_s <= back_s_of(rig, "beside"),
        "target": f"the old one runs on, no frame of the film missing, all within {back_s_of(rig, 'beside'):g} s",
        "told_s": round(told_s, 2),
        "back_s": round(back_s, 3),
        **pauses_since(rig, marks),
        "said": event.text,
    }


def killed_after(rig: Rig) -> dict[str, Any]:
    """``kill -9`` of the new engine that has just taken over: the old one, which stands by, goes on."""
    serving, marks, events, old = rig.serving(), rig.marks(), len(rig.watch.events), rig.key
    rig.want(other(rig))
    new = candidate(rig, serving)
    event = rig.outcome(events, SWAPPED_S)
    assert event.kind == "engine-swapped", event.text
    rig.keys.append(str(event.data["engine"]))
    rig.back_after(time.monotonic())
    events = len(rig.watch.events)
    at_s = kill(new)
    rig.keys.append(old)
    event = rig.outcome(events, 10.0)
    back_s = rig.back_after(at_s)
    rig.until(rig.at_home, 20, "end of a swap")
    right = event.kind == "engine-rolled-back" and rig.serving() == serving
    return {
        "ok": right and back_s <= back_s_of(rig, "standing-by"),
        "target": f"the old process goes on within {back_s_of(rig, 'standing-by'):g} s",
        "back_s": round(back_s, 3),
        **pauses_since(rig, marks),
        "film_frames_lost": missing(rig.since(marks)[FILM]),
        "said": event.text,
    }


def killed_serving(rig: Rig) -> dict[str, Any]:
    """``kill -9`` of the process that infers, with nobody beside it."""
    marks, serving = rig.marks(), rig.serving()
    at_s = kill(serving)
    back_s = rig.back_after(at_s)
    rig.until(rig.at_home, 20, "new infer process")
    return {
        "ok": rig.serving() != serving and back_s <= back_s_of(rig, "replaced"),
        "target": f"replaced within {back_s_of(rig, 'replaced'):g} s",
        "back_s": round(back_s, 2),
        "film_frames_lost": missing(rig.since(marks)[FILM]),
    }


def killed_serving_in_swap(rig: Rig) -> dict[str, Any]:
    """Likewise, while another engine is loaded: this swap is given up, and made later."""
    serving, marks, events, key = rig.serving(), rig.marks(), len(rig.watch.events), other(rig)
    rig.want(key)
    candidate(rig, serving)
    at_s = kill(serving)
    back_s = rig.back_after(at_s)
    event = rig.outcome(events, SWAPPED_S)
    swapped_s = time.monotonic() - at_s
    assert event.kind == "engine-swapped", event.text
    rig.keys.append(key)
    rig.back_after(time.monotonic())
    rig.until(rig.at_home, 20, "end of the old infer process")
    return {
        "ok": back_s <= back_s_of(rig, "replaced"),
        "target": f"replaced within {back_s_of(rig, 'replaced'):g} s, swapped later",
        "back_s": round(back_s, 2),
        "swapped_s": round(swapped_s, 2),
        "film_frames_lost": missing(rig.since(marks)[FILM]),
    }


def other(rig: Rig) -> str:
    """Key of the good engine that does not run."""
    return rig.engines.second if rig.key == rig.engines.first else rig.engines.first


def candidate(rig: Rig, serving: int) -> int:
    """Wait for the second infer process; returns its id."""
    rig.until(lambda: len(rig.infers()) == 2, 30, "second infer process")
    (new,) = set(rig.infers()) - {serving}
    return new


def untouched(rig: Rig, marks: dict[str, int]) -> bool:
    """Whether no frame of the film is missing, and no engine but the one that runs made anything."""
    seen = rig.since(marks)
    return missing(seen[FILM]) == 0 and all(turns(each) == [rig.key] for each in seen.values())


def pauses_since(rig: Rig, marks: dict[str, int]) -> dict[str, float]:
    """The longest pauses of a camera and of the film."""
    seen = rig.since(marks)
    camera = max(longest_ms(seen[name]) for name in CAMERAS)
    return {"longest_camera_ms": round(camera, 1), "longest_film_ms": round(longest_ms(seen[FILM]), 2)}


def back_s_of(rig: Rig, what: str) -> float:
    """Within how long frames have to come again."""
    return BACK_S[what] * (1.0 if rig.backend == "tensorrt" else _SHARED)
