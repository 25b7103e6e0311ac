# SPDX-License-Identifier: Apache-2.0
"""The whole daemon on the GPU: live sources, and the same frames as ONNX Runtime gets, with the same detections."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edged.messages import Detection, Prediction
from edged.stages.publish.client import Subscriber
from tools.gpu.results import attempt
from tools.gpu.rig import ROOT
from tools.gpu.right import compare

sys.path.append(str(ROOT / "tests"))

from support.daemon import Daemon

LIVE_S = 10.0
FRAMES = 300
_PREDICTIONS = "v1/predictions/"


def settings(state: Path, backend: str, sources: Sequence[dict[str, Any]], **publish: Any) -> dict[str, Any]:
    """Settings of a daemon with the demo model."""
    return {
        "daemon": {"name": "gpu", "state_dir": str(state)},
        "sources": list(sources),
        "engine": {"backend": backend, "precision": "fp32", "max_batch": 4},
        "publish": publish,
    }


class Running:
    """A daemon in a folder of its own, whose path is short enough for a socket; it ends with the block."""

    def __init__(self, content: dict[str, Any], arguments: Sequence[str] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edged-gpu-", dir="/tmp"))
        self.daemon = Daemon(self._folder, content, arguments).start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.destroy()
        shutil.rmtree(self._folder, ignore_errors=True)


def live(folder: Path) -> dict[str, Any]:
    """Two live sources at 30 frames/s for a while: everything published, by TensorRT."""
    sources = [{"name": name, "uri": f"synthetic://shapes?fps=30&seed={seed}"} for seed, name in enumerate(("a", "b"))]
    seen: dict[str, int] = {}
    backends: set[str] = set()
    ages: list[float] = []
    lost = 0
    with Running(settings(folder / "state", "tensorrt", sources)) as running:
        daemon = running.daemon
        with Subscriber(daemon.endpoint, [_PREDICTIONS], timeout_s=60) as subscriber:
            begin = None
            limit = time.monotonic() + 60
            while time.monotonic() < (limit if begin is None else begin + LIVE_S):
                if daemon.process.poll() is not None:
                    break
                received = subscriber.receive(0.5)
                if received is None or not isinstance(received.message, Prediction):
                    continue
                begin = begin if begin is not None else time.monotonic()
                message = received.message
                lost += received.lost
                seen[message.source] = seen.get(message.source, 0) + 1
                backends.add(message.model.backend)
                if time.monotonic() > begin + 1:
                    ages.append(message.age_ms)
        code = daemon.terminate() if daemon.process.poll() is None else daemon.process.returncode
        if code or not seen:
            print(daemon.output)
    wanted = 0.95 * 30 * LIVE_S
    ok = code == 0 and backends == {"tensorrt"} and lost == 0 and all(seen.get(name, 0) >= wanted for name in "ab")
    percentiles = [round(float(np.percentile(ages, share)), 2) for share in (50, 99)] if ages else []
    return {"ok": ok, "seen": seen, "backends": sorted(backends), "lost": lost, "code": code, "age_ms": percentiles}


def collect(folder: Path, backend: str) -> tuple[dict[tuple[str, int], Prediction], int]:
    """Every prediction of two sources that end, by source and frame; and the exit code."""
    sources = [
        {"name": name, "uri": f"synthetic://shapes?fps=1000&seed={seed}&frames={FRAMES}", "mode": "lossless"}
        for seed, name in enumerate(("a", "b"), start=11)
    ]
    found: dict[tuple[str, int], Prediction] = {}
    content = settings(folder / "state", backend, sources, wait_for_subscribers=1)
    with Running(content, ["--exit-when-done"]) as running:
        daemon = running.daemon
        with Subscriber(daemon.endpoint, [_PREDICTIONS], timeout_s=60) as subscriber:
            limit = time.monotonic() + 120
            while len(found) < 2 * FRAMES and time.monotonic() < limit:
                received = subscriber.receive(1.0)
                if received is not None and isinstance(received.message, Prediction):
                    found[received.message.source, received.message.frame_id] = received.message
                elif daemon.process.poll() is not None:
                    break
        code = daemon.wait(30)
        if code or len(found) < 2 * FRAMES:
            print(daemon.output)
    return found, code


def same(folder: Path) -> dict[str, Any]:
    """The same frames through both backends give the same detections."""
    ours, code = collect(folder, "tensorrt")
    theirs, other_code = collect(folder, "onnxruntime")
    missing, boxes, edge, score = 0, 0, 0.0, 0.0
    for key in ours.keys() & theirs.keys():
        # Each side has to have what the other is sure of.
        rows = _rows(ours[key]), _rows(theirs[key])
        for one, other in (rows, rows[::-1]):
            # Scores just above the threshold may fall below it on the other side.
            sure = other[other[:, 4] >= 0.43]
            result = compare(one, sure)
            missing, boxes = missing + result[0], boxes + result[1]
            edge, score = max(edge, result[2]), max(score, result[3])
    backends = sorted({message.model.backend for message in ours.values()})
    complete = len(ours) == len(theirs) == 2 * FRAMES and (code, other_code) == (0, 0)
    return {
        "ok": complete and backends == ["tensorrt"] and missing == 0 and boxes > 0,
        "frames": [len(ours), len(theirs)],
        "codes": [code, other_code],
        "backends": backends,
        "boxes": boxes,
        "without_partner": missing,
        "largest_px": round(edge, 4),
        "largest_score": round(score, 6),
    }


def daemon_parts(folder: Path, data: Path) -> dict[str, Any]:
    """All that is shown with the whole daemon; the real clip lies in ``data``."""
    from tools.gpu.whole import whole

    results: dict[str, Any] = {}
    whole(folder, data, results)
    attempt(results, "live", lambda: live(folder))
    attempt(results, "same-as-onnxruntime", lambda: same(folder))
    return results


def _rows(message: Prediction) -> np.ndarray[Any, np.dtype[np.float64]]:
    found: list[Detection] = message.detections or []
    return np.array([[*each.box, each.score, each.class_id] for each in found], np.float64).reshape(-1, 6)
