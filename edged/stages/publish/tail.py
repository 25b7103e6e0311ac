# SPDX-License-Identifier: Apache-2.0
"""``edged tail``: what flows, one line a message."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from msgspec import UNSET

from edged.messages import Event, Health, Prediction, Stats, Thermal
from edged.stages.publish.client import Received, Subscriber
from edged.stages.publish.silence import likely_causes

if TYPE_CHECKING:
    from edged.stages.publish.security import ClientCurve

_HINT_AFTER_S = 3.0
_WAIT_S = 0.5  # so that Ctrl-C and --seconds are noticed
_TOP = 3


def run_tail(
    connect: str | Sequence[str],
    topics: Sequence[str],
    json_lines: bool,
    count: int | None,
    seconds: float | None,
    out: TextIO,
    *,
    err: TextIO | None = None,
    curve: ClientCurve | None = None,
) -> int:
    """Print messages until told to stop.

    Args:
        connect: endpoint or endpoints.
        topics: prefixes wanted; none means all.
        json_lines: print the JSON as received, one message a line.
        count, seconds: end after so many messages, after so many seconds; None: don't.
        out: where the messages go.
        err: where the hint goes when nothing comes, and losses with ``json_lines``; default: stderr.
        curve: keys for a tcp endpoint with CURVE.

    Returns:
        The exit code, 0: also after Ctrl-C, and when nobody reads ``out`` any more.

    Raises:
        SettingsError: an endpoint that cannot be connected to.
    """
    notes = sys.stderr if err is None else err
    try:
        with Subscriber(connect, topics or ("",), curve=curve) as subscriber:
            for received in _take(subscriber, count, seconds, _hint(connect, curve), notes):
                for loss in describe_losses(received):
                    _write(notes if json_lines else out, loss)
                _write(out, _one_line(received.raw) if json_lines else describe(received))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        _silence(out)
    return 0


def describe(received: Received) -> str:
    """One line for people; free of control characters, whatever was received."""
    message = received.message
    clock = _clock(message.at)
    if isinstance(message, Prediction):
        came = ", damaged" if message.frame.damaged is True else ""
        head = f"{message.source} #{message.frame_id} {message.age_ms:.0f} ms, batch {message.batch}{came}"
        text = f"{head}: {_content(message)}"
    elif isinstance(message, Health):
        text = f"health {_health(message)}"
    elif isinstance(message, Stats):
        text = f"stats {_stats(message)}"
    elif isinstance(message, Thermal):
        text = f"thermal {_thermal(message)}"
    else:
        text = _event(message)
    return _printable(f"{clock} {text}")


def _clock(at: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    except (OverflowError, OSError, ValueError):  # beyond all calendars
        return "--:--:--.---"


def describe_losses(received: Received) -> list[str]:
    """A line for every topic that lost messages right before this one was received."""
    lost = {received.topic: received.lost} if received.lost else {}
    return [_printable(f"!! lost {n} of {topic}") for topic, n in {**lost, **received.tail_lost}.items()]


def _take(
    subscriber: Subscriber, count: int | None, seconds: float | None, hint: str, notes: TextIO
) -> Iterator[Received]:
    start = time.monotonic()
    end = None if seconds is None else start + seconds
    taken = 0
    hinted = False
    while (count is None or taken < count) and (end is None or time.monotonic() < end):
        wait = _WAIT_S if end is None else max(0.0, min(_WAIT_S, end - time.monotonic()))
        received = subscriber.receive(wait)
        if received is not None:
            taken += 1
            yield received
        elif not taken and not hinted and time.monotonic() - start >= _HINT_AFTER_S:
            hinted = True
            odd = f" ({subscriber.malformed} messages were not understood)" if subscriber.malformed else ""
            _write(notes, hint + odd)


def _hint(connect: str | Sequence[str], curve: ClientCurve | None) -> str:
    endpoint = connect if isinstance(connect, str) else ", ".join(connect)
    return f"{endpoint}: nothing received yet; {likely_causes(endpoint, keys=curve is not None)}"


def _content(message: Prediction) -> str:
    if message.detections:
        best: dict[str, tuple[int, float]] = {}
        for detection in message.detections:
            number, score = best.get(detection.label, (0, 0.0))
            best[detection.label] = number + 1, max(score, detection.score)
        ranked = sorted(best.items(), key=lambda item: -item[1][1])
        return ", ".join(f"{number} {label} {score:.2f}" for label, (number, score) in ranked)
    if message.classes:
        return ", ".join(f"{entry.label} {entry.score:.2f}" for entry in message.classes[:_TOP])
    if message.mask:
        return f"mask {message.mask.shape[1]}x{message.mask.shape[0]}"
    if message.tensors:
        return ", ".join(f"{tensor.name} {tensor.dtype}{tensor.shape}" for tensor in message.tensors)
    return "nothing"


def _health(message: Health) -> str:
    parts = [message.state + (f" ({'; '.join(message.reasons)})" if message.reasons else "")]
    for name, source in message.sources.items():
        age = f", p99 {source.age_ms.p99:.0f} ms" if source.age_ms else ""
        dropped = sum(getattr(source.dropped, reason) for reason in source.dropped.__struct_fields__)
        why = f" ({source.reason})" if source.reason else ""
        parts.append(f"{name} {source.state}{why} {source.rate_hz:.1f} Hz{age}, {dropped} dropped")
    if message.engine is not None:
        parts.append(f"{message.engine.id} {message.engine.backend} {message.engine.precision}")
    parts.append(f"{message.subscribers} subscribers")
    return " | ".join(parts)


def _stats(message: Stats) -> str:
    processes = (f"{name} {process.cpu_s:.1f} s CPU" for name, process in message.processes.items())
    return " | ".join((f"up {message.uptime_s:.0f} s", *processes))


def _thermal(message: Thermal) -> str:
    parts = [f"{sensor.name} {sensor.value:.0f} °C" for sensor in message.sensors if sensor.kind == "temperature"]
    if message.power_w is not UNSET:
        parts.append(f"{message.power_w:.1f} W")
    parts += [f"held back by {each.cause}: {each.evidence}" for each in message.throttle]
    if message.sustained is not UNSET:
        parts.append(f"{message.sustained.now_hz:.1f}/s, at best {message.sustained.peak_hz:.1f}/s")
    return " | ".join(parts) or "nothing known"


def _event(message: Event) -> str:
    source = f" {message.source}" if message.source else ""
    return f"{message.severity} {message.kind}{source}: {message.text}"


def _one_line(raw: bytes) -> str:
    # Line ends in JSON can only stand between its parts.
    return raw.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _write(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


def _silence(out: TextIO) -> None:
    """Point a pipe that nobody reads at /dev/null, so that flushing it when Python ends does not fail again."""
    sink = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(sink, out.fileno())
    finally:
        os.close(sink)
