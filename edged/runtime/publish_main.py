# SPDX-License-Identifier: Apache-2.0
"""The publish process: postprocess and the one socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import cv2
import msgspec

from edged.messages import EVENT, HEALTH, STATS, THERMAL, Event, Health, Prediction, Stats, Thermal
from edged.ranges import Ranges
from edged.runtime.audience import Audience
from edged.runtime.channel import Note
from edged.runtime.control import Control
from edged.runtime.layout import layout_of
from edged.runtime.live_publish import LivePublish, feed_of, reading
from edged.runtime.plans import PublishPlan
from edged.runtime.sequences import SharedSequences
from edged.shm.board import PUBLISH_ROW, Board
from edged.shm.output_table import OutputTable
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.publish.loop import PROFILED, Feed, Identity, PublishLoop, Task
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.security import ServerCurve, load_server_curve
from edged.stages.publish.service import PublishService

_HIGH_WATER_MARK = 256


class Announcer:
    """Turns the supervisor's notes (health, thermal, stats, events) into messages, with what only publish knows."""

    def __init__(
        self,
        publisher: Publisher,
        sequences: SharedSequences,
        audience: Audience,
        tell: Callable[[str, object], None],
    ) -> None:
        self._publisher = publisher
        self._audience = audience
        self._tell = tell
        self._sequences = sequences
        self.linger_ms = 200

    def take(self, note: Note) -> None:
        """Publish one note."""
        if note.kind == "health":
            self._publisher.poll_subscriptions()
            self._audience.note(self._publisher.subscribers, self._publisher.handshake_failures)
            remarks = [("warning", text) for text in self._publisher.remarks()]
            if remarks:
                self._tell("remarks", remarks)
            envelope = self._publisher.envelope(HEALTH)
            # After the envelope, so that this very message is in it.
            extra = {"last_seq": self._sequences.last(), "subscribers": self._publisher.subscribers}
            self._publisher.publish(HEALTH, msgspec.convert({**envelope, **note.body, **extra}, Health))
        elif note.kind == "stats":
            self._publisher.publish(STATS, msgspec.convert({**self._publisher.envelope(STATS), **note.body}, Stats))
        elif note.kind == "thermal":
            self._publisher.publish(
                THERMAL, msgspec.convert({**self._publisher.envelope(THERMAL), **note.body}, Thermal)
            )
        elif note.kind == "event":
            self._publisher.publish(EVENT, msgspec.convert({**self._publisher.envelope(EVENT), **note.body}, Event))
        elif note.kind == "linger":
            self.linger_ms = int(note.body)


def serve(_name: str, control: Control) -> None:
    """Publish until told to stop."""
    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, PublishPlan)
    outputs_fd, wake_infer_fd, wake_fd, board_fd, *wake_verify_fd = note.fds
    feeds = _feeds(control, plan, wake_verify_fd)
    board = Board(Region(board_fd))
    row = board.row(PUBLISH_ROW)
    sequences = SharedSequences(row, [(feed.name, feed.table) for feed in feeds.values()])
    publisher = Publisher(
        plan.bind,
        device=plan.device,
        boot=plan.boot,
        hwm=_HIGH_WATER_MARK,
        curve=_curve(plan, sequences),
        sequences=sequences,
    )
    announcer = Announcer(publisher, sequences, Audience(row), control.tell)
    try:
        control.tell("bound")
        ranges = Ranges(plan.profile)
        loop = _loop(plan, feeds, publisher, (outputs_fd, wake_infer_fd), board, ranges)
        live = LivePublish(plan, control, loop, sequences, announcer.take, ranges, wake_verify_fd)
        control.on_note = live.take
        _service(control, publisher, loop, wake_fd).run()
    finally:
        publisher.close(announcer.linger_ms)


def _loop(
    plan: PublishPlan,
    feeds: dict[int, Feed],
    publisher: Publisher,
    fds: tuple[int, int],
    board: Board,
    ranges: Ranges,
) -> PublishLoop:
    outputs_fd, wake_infer_fd = fds

    def send(topic: str, message: Prediction, blobs: Sequence[bytes]) -> None:
        publisher.publish(topic, message, blobs)

    loop = PublishLoop(
        OutputTable(Region(outputs_fd), layout_of(plan.outputs)),
        feeds,
        reading(plan.postprocess, ranges),
        ranges.around("send", send),
        Identity(plan.device, plan.boot, plan.model, cast(Task, plan.task)),
        wake_infer=Wake(wake_infer_fd),
        row=board.row(PUBLISH_ROW),
        generation=plan.generation,
        tally=board.tally,
    )
    ranges.cover(loop, PROFILED)
    return loop


def _service(control: Control, publisher: Publisher, loop: PublishLoop, wake_fd: int) -> PublishService:
    return PublishService(
        publisher,
        loop,
        wake=Wake(wake_fd),
        control=control.fileno(),
        should_stop=control.should_stop,
        on_subscriptions=lambda count: control.tell("subscriptions", count),
    )


def _feeds(control: Control, plan: PublishPlan, wake_verify_fd: list[int]) -> dict[int, Feed]:
    feeds = dict(feed_of(control.expect("source"), plan, wake_verify_fd) for _ in range(plan.sources))
    for fd in wake_verify_fd:
        # The process that this one replaces may have handed over a sample and died before it said so.
        Wake(fd).set()
    return feeds


def _curve(plan: PublishPlan, sequences: SharedSequences) -> ServerCurve | None:
    if plan.curve is None:
        return None
    replaced = any(sequences.last().values())
    return load_server_curve(
        Path(plan.curve["secret_key_file"]), Path(plan.curve["authorized_keys_dir"]), running=replaced
    )
