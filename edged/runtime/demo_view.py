# SPDX-License-Identifier: Apache-2.0
"""What ``edged demo`` shows: a live table of predictions and rates, and a picture of one frame with its boxes."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from edged.messages import Detection, Prediction
from edged.stages.capture.shapes import ShapesScene
from edged.stages.publish.client import Subscriber

_COLOURS = {"circle": (80, 220, 120), "square": (255, 170, 60), "triangle": (80, 120, 255)}
_PLAIN_EVERY_S = 5.0
_RECENT = 150
_LATEST = "latest prediction"
_COLUMNS = ("source", "frame", "published", "rate", "age p50", "dropped", _LATEST)
_WIDE, _MEDIUM = 90, 66
"""Columns of a terminal from which all of the table, and most of it, can be read."""


@dataclass(slots=True)
class _Seen:
    count: int = 0
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    last: Prediction | None = None
    clearest: Prediction | None = None

    def note(self, message: Prediction, now: float) -> None:
        self.count += 1
        self.ages.append(message.age_ms)
        self.times.append(now)
        self.last = message
        if self.clearest is None or _clarity(message) > _clarity(self.clearest):
            self.clearest = message

    @property
    def rate(self) -> float:
        span = self.times[-1] - self.times[0] if len(self.times) > 1 else 0.0
        return (len(self.times) - 1) / span if span else 0.0


class DemoView:
    """A subscriber with a face.

    Args:
        endpoint: to connect to.
        sources: seed of the synthetic scene, by source name.
        since_s: when the program started, for the time to the first prediction (monotonic seconds).
    """

    def __init__(self, endpoint: str, sources: Mapping[str, int], *, since_s: float) -> None:
        self._endpoint = endpoint
        self._sources = sources
        self._since_s = since_s
        self._first_s: float | None = None
        self._started_s = time.monotonic()
        self._seen = {name: _Seen() for name in sources}
        self._lost = 0
        self._console = Console()

    @property
    def began(self) -> bool:
        """Whether there was a prediction."""
        return self._first_s is not None

    def run(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        """Show what comes until the time is up (0: never) or a stop is asked for."""
        end: float | None = None
        next_line = time.monotonic() + _PLAIN_EVERY_S
        with Subscriber(self._endpoint, ["v1/predictions/"]) as subscriber, self._live() as live:
            while not should_stop() and (end is None or time.monotonic() < end):
                received = subscriber.receive(0.2)
                now = time.monotonic()
                if received is not None and isinstance(received.message, Prediction):
                    self._seen[received.message.source].note(received.message, now)
                    if self._first_s is None:
                        # The time asked for begins with the first prediction, so that a slow start is not a short show.
                        self._first_s = now
                        end = now + seconds if seconds else None
                if live.is_started and self._console.is_terminal:
                    live.update(self.table())
                elif now >= next_line:
                    next_line = now + _PLAIN_EVERY_S
                    self._console.print(self.table())
            self._lost = sum(subscriber.lost.values())

    def _live(self) -> Live:
        return Live(
            self.table(),
            console=self._console,
            refresh_per_second=8,
            transient=True,
            auto_refresh=self._console.is_terminal,
        )

    def table(self) -> Table:
        """The sources as they are now."""
        columns = _columns(self._console.width)
        title = "edged demo" if len(columns) < len(_COLUMNS) else f"edged demo · {self._endpoint}"
        table = Table(title=title, title_justify="left")
        for column in columns:
            text = column in ("source", _LATEST)
            table.add_column(column, justify="left" if text else "right", no_wrap=column != _LATEST)
        for name, seen in self._seen.items():
            cells = _cells(name, seen)
            table.add_row(*(cells[column] for column in columns))
        return table

    def summarise(self, picture: Path) -> list[str]:
        """Print how it went and write the picture; returns the sources from which nothing came."""
        console = self._console
        console.print(self.table())
        if self._first_s is not None:
            console.print(f"first prediction {self._first_s - self._since_s:.2f} s after the start", end="; ")
            total = sum(seen.count for seen in self._seen.values())
            console.print(f"{total} predictions received, {self._lost} lost on the way")
            written = self._write_picture(picture)
            if written is not None:
                console.print(f"a frame with its predictions: {written}")
            console.print("\nSubscribe to your own daemon like this:\n")
            console.print("    edged tail --connect ipc:///run/edged/predictions.sock v1/predictions/\n", markup=False)
            console.print("or from Python:\n")
            console.print(_SNIPPET, markup=False, highlight=False, soft_wrap=True)
        return [name for name, seen in self._seen.items() if not seen.count]

    def _write_picture(self, path: Path) -> Path | None:
        name, seen = max(self._seen.items(), key=lambda item: _clarity(item[1].clearest))
        if seen.clearest is None:
            return None
        message = seen.clearest
        scene = ShapesScene(self._sources[name], message.frame.width, message.frame.height)
        # The scene is a pure function of seed and frame number: this is the very frame that was inferred.
        image = scene.render(message.frame_id)
        for each in _boxes(message):
            _draw(image, each)
        return path.absolute() if cv2.imwrite(str(path), image) else None


def _columns(width: int) -> tuple[str, ...]:
    """The columns that a terminal has room for."""
    if width >= _WIDE:
        return _COLUMNS
    return ("source", "published", "rate", "age p50", _LATEST) if width >= _MEDIUM else ("source", "rate", _LATEST)


def _cells(name: str, seen: _Seen) -> dict[str, str]:
    """One source's row, by column."""
    if seen.last is None:
        return {**dict.fromkeys(_COLUMNS, ""), "source": name, "published": "0", _LATEST: "waiting for the first one"}
    losses = seen.last.dropped
    dropped = losses.overwritten + losses.stale + losses.decode_error + losses.failed
    return {
        "source": name,
        "frame": str(seen.last.frame_id),
        "published": str(seen.count),
        "rate": f"{seen.rate:.1f}/s",
        "age p50": f"{statistics.median(seen.ages):.1f} ms",
        "dropped": str(dropped),
        _LATEST: ", ".join(f"{each.label} {each.score:.2f}" for each in _boxes(seen.last)[:5]),
    }


_SNIPPET = """\
    from edged.stages.publish.client import Subscriber

    with Subscriber("ipc:///run/edged/predictions.sock", ["v1/predictions/"]) as subscriber:
        for received in subscriber:
            print(received.message.source, received.message.detections)
"""


def _draw(image: NDArray[np.uint8], each: Detection) -> None:
    """Draw one detection into a picture, uint8 H×W×3."""
    x1, y1, x2, y2 = (round(value) for value in each.box)
    colour = _COLOURS.get(each.label, (255, 255, 255))
    cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)
    text, font, size = f"{each.label} {each.score:.2f}", cv2.FONT_HERSHEY_SIMPLEX, 0.45
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    top = max(0, y1 - height - 8)
    cv2.rectangle(image, (x1, top), (x1 + width + 6, top + height + 8), colour, cv2.FILLED)
    cv2.putText(image, text, (x1 + 3, top + height + 3), font, size, (20, 20, 20), 1, cv2.LINE_AA)


def _clarity(message: Prediction | None) -> float:
    """How well a frame shows what the model can do: many objects, all of them sure."""
    scores = [each.score for each in _boxes(message)]
    return len(scores) * min(scores) ** 4 if scores else 0.0


def _boxes(message: Prediction | None) -> list[Detection]:
    return [] if message is None or message.detections is UNSET else message.detections
