# SPDX-License-Identifier: Apache-2.0
"""The whole daemon at a camera's picture size: its rate against that of its parts, and how fresh its results are.

A ResNet-50 on 640×640 frames at FP16. *Engine alone*: its graph, back to back. *Capture alone*: the same capture
processes on the same clip, their frames taken by somebody who does nothing with them. *Publish alone*: the daemon with
a network that does next to nothing and frames that were drawn before.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edged.messages import Prediction, Stats
from edged.runtime.channel import Channel
from edged.runtime.launch import Handle, ProcessLauncher
from edged.runtime.plans import CapturePlan
from edged.shm.board import FIRST_CAPTURE_ROW, Board
from edged.shm.frame_table import FrameTable
from edged.shm.wake import Wake
from edged.stages.publish.client import Subscriber
from tools.gpu.daemon import Running
from tools.gpu.fast import Alone
from tools.gpu.models import LARGE
from tools.gpu.results import SkippedError, attempt
from tools.gpu.rig import Host

CLIP = "people-720p50.avi"
MODEL, TINY = "resnet50-640", "small-640"
SOURCES, BATCH, SLOTS = 8, 32, 2
SHARE = 0.90
LATER_P50_MS, LATER_P99_MS = 2.0, 5.0
_WARM_S, _MEASURED_S, _LIVE_S = 3.0, 10.0, 30.0
_FIT = {"size": [LARGE, LARGE], "resize": "letterbox", "align": "center", "pad": 114, "interpolation": "linear"}


class Rate(NamedTuple):
    """What was published.

    Attributes:
        frames_per_s: by the messages' sequence numbers and times.
        lost: messages that the subscriber missed; they count all the same.
        batch: frames of a batch in the mean.
        cpu: CPU seconds a second, by process and stage.
    """

    frames_per_s: float
    lost: int
    batch: float
    cpu: dict[str, float]


def clip(data: Path) -> Path:
    """The real video.

    Raises:
        SkippedError: it is not in the data folder.
    """
    path = (data / CLIP).resolve()
    if not path.is_file():
        raise SkippedError(f"needs {path}")
    return path


def settings(folder: Path, model: str, sources: Sequence[dict[str, Any]], **engine: Any) -> dict[str, Any]:
    """Settings of a daemon with one of the large models."""
    return {
        "daemon": {"name": "gpu", "state_dir": str(folder / "state")},
        "sources": list(sources),
        "model": {"spec": str(folder / f"{model}.toml")},
        "engine": {"backend": "tensorrt", "precision": "fp16", "slots": SLOTS, "max_batch": BATCH, **engine},
    }


def published(content: dict[str, Any], seconds: float = _MEASURED_S, warm_s: float = _WARM_S) -> Rate:
    """What a running daemon publishes, by the times in its messages; it is ended again."""
    first: dict[str, tuple[int, float]] = {}
    last: dict[str, tuple[int, float]] = {}
    batches: list[int] = []
    lost = 0
    stats: list[Stats] = []
    with Running(content) as running:
        daemon = running.daemon
        with Subscriber(daemon.endpoint, ["v1/predictions/", "v1/stats/"], timeout_s=60, hwm=100_000) as subscriber:
            begin, limit = None, time.monotonic() + 90
            while time.monotonic() < (limit if begin is None else begin + warm_s + seconds):
                received = subscriber.receive(0.5)
                if received is None:
                    assert daemon.process.poll() is None, daemon.output
                    continue
                message = received.message
                begin = begin or time.monotonic()
                if time.monotonic() < begin + warm_s:
                    continue
                if isinstance(message, Stats):
                    stats.append(message)
                elif isinstance(message, Prediction):
                    at = message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3
                    first.setdefault(message.source, (message.seq, at))
                    last[message.source] = (message.seq, at)
                    batches.append(message.batch)
                    lost += received.lost
        assert daemon.terminate() == 0, daemon.output
    assert first, "nothing was published"
    count = sum(last[name][0] - first[name][0] for name in first)
    span = max(at for _, at in last.values()) - min(at for _, at in first.values())
    return Rate(round(count / span, 1), lost, round(float(np.mean(batches)), 1), _stages(stats))


def _stages(stats: list[Stats]) -> dict[str, float]:
    """CPU seconds a second of each kind of process and stage: what comes near 1 is busy."""
    if len(stats) < 2:
        return {}
    used: dict[str, float] = defaultdict(float)
    span = stats[-1].uptime_s - stats[0].uptime_s
    for name, process in stats[-1].processes.items():
        before = stats[0].processes.get(name)
        for stage, times in process.stages.items():
            if before is not None and stage in before.stages:
                used[f"{name.split(':')[0]} {stage}"] += (times.cpu_s - before.stages[stage].cpu_s) / span
    return {name: round(value, 2) for name, value in used.items()}


class _Capture(NamedTuple):
    handle: Handle
    channel: Channel
    table: FrameTable
    space: Wake


def capture_alone(video: Path, seconds: float = _MEASURED_S, sources: int = SOURCES) -> float:
    """Frames a second of capture processes on the same clip, as the supervisor starts them."""
    launcher, wake, board = ProcessLauncher(), Wake(), Board.create(FIRST_CAPTURE_ROW + sources)
    captures: list[_Capture] = []
    try:
        for number in range(sources):
            table = FrameTable.create((SLOTS + 1) * BATCH, LARGE * LARGE * 3, live=False)
            handle, channel = launcher.start("capture", f"alone-{number}")
            capture = _Capture(handle, channel, table, Wake())
            captures.append(capture)
            row = FIRST_CAPTURE_ROW + number
            plan = CapturePlan(
                uri=video.as_uri(), fps=None, repeat=True, decode="auto", fit=dict(_FIT), skip=0, row=row
            )
            fds = (table.region.fd, wake.fd, capture.space.fd, board.region.fd)
            assert channel.send("configure", msgspec.to_builtins(plan), fds, wait_s=10.0)
        _take(captures, wake, 2.0)
        begin = time.monotonic()
        count = _take(captures, wake, seconds)
        return round(count / (time.monotonic() - begin), 1)
    finally:
        for capture in captures:
            capture.handle.kill()
            capture.handle.wait(10.0)
            capture.channel.close()
            capture.table.close()
            capture.space.close()
        board.close()
        wake.close()


def _take(captures: list[_Capture], wake: Wake, seconds: float) -> int:
    """Take every frame as it comes, and give its place back at once."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        wake.wait(0.1)
        for capture in captures:
            frames = capture.table.ready()
            if frames:
                taken = capture.table.take(frames)
                capture.table.release([frame.slot for frame in taken])
                capture.space.set()
                count += len(taken)
    return count


def engine_alone(folder: Path, batch: int) -> float:
    """Seconds for a batch of the large model, back to back."""
    with Host(folder) as host, host.model(MODEL, "fp16") as model, ExitStack() as stack:
        alone = Alone(host.gpu, model.engine, batch, stack)
        alone.run(20)
        return median(alone.run(30) / 30 for _ in range(5))


def engine_latency(folder: Path, pause_s: float = 0.0, count: int = 200) -> float:
    """Milliseconds from launching one frame's run to its end, the median; with pauses between, as a camera makes."""
    with Host(folder) as host, host.model(MODEL, "fp16") as model, ExitStack() as stack:
        alone = Alone(host.gpu, model.engine, 1, stack)
        alone.run(20)
        taken = []
        for _ in range(count):
            if pause_s:
                time.sleep(pause_s)
            taken.append(alone.run(1) * 1e3)
        return round(median(taken), 3)


def throughput(folder: Path, data: Path) -> dict[str, Any]:
    """Eight sources that decode the real clip, whole and as fast as they are taken."""
    video = clip(data)
    batch_s = engine_alone(folder, BATCH)
    alone = {"engine": round(BATCH / batch_s, 1), "capture": capture_alone(video)}
    drawn = [
        {"name": f"s{n}", "uri": f"synthetic://shapes?seed={n}&size={LARGE}x{LARGE}&cache=32", "mode": "lossless"}
        for n in range(SOURCES)
    ]
    tiny = published(settings(folder, TINY, drawn))
    alone["publish"] = tiny.frames_per_s
    real = [{"name": f"s{n}", "uri": video.as_uri(), "mode": "lossless", "loop": True} for n in range(SOURCES)]
    whole = published(settings(folder, MODEL, real))
    least = min(alone.values())
    return {
        "ok": whole.frames_per_s >= SHARE * least,
        "target": f">= {SHARE} of the slowest part",
        "frames_per_s": whole.frames_per_s,
        "ratio": round(whole.frames_per_s / least, 3),
        "alone": " ".join(f"{name}={rate}" for name, rate in alone.items()),
        "batch": whole.batch,
        "lost_by_subscriber": [tiny.lost, whole.lost],
        "cpu": whole.cpu,
        "cpu_publish_alone": tiny.cpu,
    }


def freshness(folder: Path, data: Path, seconds: float = _LIVE_S) -> dict[str, Any]:
    """One camera's worth of frames, live, one at a time: from capture to publish against the engine's own time."""
    video = clip(data)
    own, paced = engine_latency(folder), engine_latency(folder, 1 / 30, 60)
    source = {"name": "camera", "uri": video.as_uri(), "mode": "live", "fps": 30.0, "loop": True}
    ages: list[float] = []
    timings: dict[str, list[float]] = defaultdict(list)
    with Running(settings(folder, MODEL, [source], max_batch=1)) as running:
        daemon = running.daemon
        with Subscriber(daemon.endpoint, ["v1/predictions/"], timeout_s=60) as subscriber:
            begin, limit = None, time.monotonic() + 60
            while time.monotonic() < (limit if begin is None else begin + 2 + seconds):
                received = subscriber.receive(0.5)
                if received is None or not isinstance(received.message, Prediction):
                    assert daemon.process.poll() is None, daemon.output
                    continue
                begin = begin or time.monotonic()
                if time.monotonic() > begin + 2:
                    ages.append(received.message.age_ms)
                    for name, value in msgspec.structs.asdict(received.message.timing_ms).items():
                        timings[name].append(value)
        assert daemon.terminate() == 0, daemon.output
    p50, p99 = (round(float(np.percentile(ages, share)), 2) for share in (50, 99))
    return {
        "ok": p50 <= own + LATER_P50_MS and p99 <= own + LATER_P99_MS,
        "target": f"p50 <= engine + {LATER_P50_MS:g} ms, p99 <= engine + {LATER_P99_MS:g} ms",
        "engine_ms": own,
        "engine_at_30_hz_ms": paced,
        "p50_ms": p50,
        "p99_ms": p99,
        "rate": round(len(ages) / seconds, 1),
        "timing_p50_ms": {name: round(median(values), 2) for name, values in timings.items()},
    }


def whole(folder: Path, data: Path, results: dict[str, Any]) -> None:
    """Both."""
    attempt(results, "throughput", lambda: throughput(folder, data))
    attempt(results, "freshness", lambda: freshness(folder, data))
