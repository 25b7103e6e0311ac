# SPDX-License-Identifier: Apache-2.0
"""The publish process while it runs: sources come and go, thresholds change, another engine takes over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from edged.messages import ModelRef
from edged.ranges import Ranges
from edged.runtime.channel import Note
from edged.runtime.control import Control
from edged.runtime.plans import PublishPlan, SourcePlan
from edged.runtime.sequences import SharedSequences
from edged.shm.frame_table import FrameTable
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.wake import Wake
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor
from edged.stages.publish.hand_over import HandOver
from edged.stages.publish.loop import Feed, Postprocess, PublishLoop


class LivePublish:
    """Serves what the supervisor says while results are published; changes come between two batches.

    Args:
        plan: of this process.
        control: to the supervisor.
        loop: that publishes.
        sequences: of the publisher.
        otherwise: takes what is for subscribers.
        ranges: for profiling.
        wake_verify: the verify process's wake-up, where there is one.
    """

    def __init__(
        self,
        plan: PublishPlan,
        control: Control,
        loop: PublishLoop,
        sequences: SharedSequences,
        otherwise: Callable[[Note], None],
        ranges: Ranges,
        wake_verify: Sequence[int],
    ) -> None:
        self._plan = plan
        self._control = control
        self._loop = loop
        self._sequences = sequences
        self._otherwise = otherwise
        self._ranges = ranges
        self._wake_verify = wake_verify
        self._does: dict[str, Callable[[Note], None]] = {
            "source": self._add,
            "policy": self._change,
            "remove": self._remove,
            "model": self._name_model,
            "reading": self._read_with,
        }

    def take(self, note: Note) -> None:
        """Do as one note says."""
        self._does.get(note.kind, self._otherwise)(note)

    def _add(self, note: Note) -> None:
        seat, feed = feed_of(note, self._plan, self._wake_verify)
        self._loop.add(seat, feed)
        self._sequences.add(feed.name, feed.table)
        self._control.tell("added", {"seat": seat})

    def _change(self, note: Note) -> None:
        plan = msgspec.convert(note.body, SourcePlan)
        feed = self._loop.feed(plan.seat)
        if feed is not None:
            self._loop.add(plan.seat, dataclasses.replace(feed, max_age_ns=plan.max_age_ns))

    def _remove(self, note: Note) -> None:
        seat = int(note.body["seat"])
        # Infer has let go of it: what lies in the ring now is all that will ever come.
        while self._loop.publish_next():
            continue
        feed = self._loop.feed(seat)
        if feed is not None:
            self._loop.remove(seat)
            self._sequences.remove(feed.name)
            feed.table.close()
            if feed.hand_over is not None:
                feed.hand_over.close()
        self._control.tell("removed", {"seat": seat})

    def _name_model(self, note: Note) -> None:
        generation = int(note.body["generation"])
        self._loop.name_model(generation, msgspec.convert(note.body["model"], ModelRef))
        self._control.tell("model", {"generation": generation})

    def _read_with(self, note: Note) -> None:
        self._loop.read_with(reading(note.body, self._ranges))


def reading(plan: object, ranges: Ranges) -> Postprocess:
    """What reads outputs, from a postprocess plan in plain values."""
    run: Postprocess = ranges.around("postprocess", Postprocessor(msgspec.convert(plan, PostprocessPlan)).run)
    return run


def feed_of(note: Note, plan: PublishPlan, wake_verify: Sequence[int]) -> tuple[int, Feed]:
    """A source's seat and feed from the supervisor's note."""
    source = msgspec.convert(note.body, SourcePlan)
    frames, *sample = note.fds
    hand_over = None
    if sample:
        hand_over = HandOver(Sample(Region(sample[0])), plan.outputs.tensors, Wake(wake_verify[0]))
    return source.seat, Feed(source.name, FrameTable(Region(frames)), source.max_age_ns, hand_over)
