# SPDX-License-Identifier: Apache-2.0
"""The publish loop: results from the output ring to subscribers, in order, each at most once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from edged.messages import (
    ClassScore,
    Detection,
    Dropped,
    FrameSize,
    Mask,
    ModelRef,
    Prediction,
    Tensor,
    Timing,
    predictions_topic,
)
from edged.records import FrameRecord
from edged.shm.board import Row
from edged.shm.frame_table import Counts
from edged.shm.output_table import BatchTimes, OutputTable
from edged.shm.pixels import OutputTensors
from edged.shm.tally import Tally
from edged.shm.wake import Wake
from edged.stages.publish.feeds import Feed, RecentAges

__all__ = ["PROFILED", "Feed", "Identity", "Postprocess", "PublishLoop", "Result", "Send", "Task", "dropped"]

_TAKE, _POSTPROCESS, _SEND = range(3)
PROFILED = {"_take": "take"}
"""Stages that are methods of the loop, for `edged.ranges.Ranges.cover`; the others are functions that it is given."""
Task = Literal["classification", "detection", "segmentation", "raw"]
_TRIES = 2
"""A result that killed publish that often is not tried again: it would end the daemon."""


class Result(Protocol):
    """What postprocess makes of one frame: exactly one of the four kinds, and the blobs they refer to."""

    @property
    def detections(self) -> list[Detection] | UnsetType: ...  # noqa: D102

    @property
    def classes(self) -> list[ClassScore] | UnsetType: ...  # noqa: D102

    @property
    def mask(self) -> Mask | UnsetType: ...  # noqa: D102

    @property
    def tensors(self) -> list[Tensor] | UnsetType: ...  # noqa: D102

    @property
    def blobs(self) -> Sequence[bytes]: ...  # noqa: D102


Postprocess = Callable[[Mapping[str, NDArray[np.generic]], int, FrameRecord], Result]
Send = Callable[[str, Prediction, Sequence[bytes]], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """What every prediction says of its origin."""

    device: str
    boot: str
    model: ModelRef
    task: Task


class _Taken(NamedTuple):
    slot: int
    frames: list[FrameRecord]
    outputs: Mapping[str, NDArray[np.generic]]
    times: BatchTimes


class PublishLoop:
    """Empties the output ring.

    Args:
        outputs: the ring's slots.
        feeds: the sources, by index; indices may be left out.
        postprocess: outputs of a batch, place in it, frame → result.
        send: hands a message to the socket; never blocks.
        identity: what messages say of their origin; its model is that of ``generation``.
        wake_infer: set when a slot of the ring became free.
        row: this process's row of the board.
        generation: see `edged.shm.output_table.OutputTable`.
        tally: is told how old each message was; None where nobody wants to know.
    """

    def __init__(
        self,
        outputs: OutputTable,
        feeds: Sequence[Feed] | Mapping[int, Feed],
        postprocess: Postprocess,
        send: Send,
        identity: Identity,
        *,
        wake_infer: Wake,
        row: Row,
        generation: int = 0,
        tally: Tally | None = None,
    ) -> None:
        self._outputs = outputs
        self._tensors = OutputTensors(outputs)
        self._feeds: dict[int, Feed] = {}
        self._recent: dict[int, RecentAges] = {}
        self._topics: dict[int, str] = {}
        for index, feed in (feeds if isinstance(feeds, Mapping) else dict(enumerate(feeds))).items():
            self.add(index, feed)
        self._postprocess = postprocess
        self._send = send
        self._identity = identity
        self._wake_infer = wake_infer
        self._row = row
        self._tally = tally
        self._models = {generation: identity.model}

    def add(self, index: int, feed: Feed) -> None:
        """Publish one more source's results from now on."""
        self._feeds[index], self._recent[index] = feed, RecentAges()
        self._topics[index] = predictions_topic(feed.name)

    def feed(self, index: int) -> Feed | None:
        """A source; None where there is none with this index."""
        return self._feeds.get(index)

    def remove(self, index: int) -> None:
        """Forget a source of which no result can come any more."""
        del self._feeds[index], self._recent[index], self._topics[index]

    def name_model(self, generation: int, model: ModelRef) -> None:
        """Say which engine a generation is."""
        self._models[generation] = model

    def read_with(self, postprocess: Postprocess) -> None:
        """Read outputs in another way from the next batch on."""
        self._postprocess = postprocess

    def publish_next(self) -> bool:
        """Publish the oldest batch that is ready; False when there is none."""
        wall, cpu = time.monotonic_ns(), time.process_time_ns()
        taken = self._take()
        if taken is None:
            return False
        slot, frames, outputs, times = taken
        model = self._models[self._outputs.generation_of(slot)]
        self._row.add(_TAKE, time.monotonic_ns() - wall, time.process_time_ns() - cpu)
        for place, frame in enumerate(frames):
            # After a kill the batch is read again: what was settled before is not sent twice.
            feed = self._feeds.get(frame.source)
            if feed is not None and frame.frame_id > feed.table.settled:
                published = self._publish_frame(outputs, place, frame, times, len(frames), model)
                if feed.hand_over is not None:
                    feed.hand_over.settled(frame.frame_id, outputs, place, published=published)
        self._outputs.release(slot)
        self._wake_infer.set()
        self._row.beat()
        return True

    def _take(self) -> _Taken | None:
        """Read the oldest batch that is ready."""
        slot = self._outputs.oldest()
        if slot is None:
            return None
        frames = self._outputs.frames(slot)
        return _Taken(slot, frames, self._tensors.outputs(slot, len(frames)), self._outputs.times(slot))

    def note_rates(self) -> None:
        """Refresh the rates and ages that health shows; call about once a second."""
        now = time.monotonic_ns()
        for index, feed in self._feeds.items():
            self._recent[index].store(feed.table, now)

    def _publish_frame(
        self,
        outputs: Mapping[str, NDArray[np.generic]],
        place: int,
        frame: FrameRecord,
        times: BatchTimes,
        count: int,
        model: ModelRef,
    ) -> bool:
        """Publish a frame's result, or drop it; whether it was published."""
        feed = self._feeds[frame.source]
        start, cpu = time.monotonic_ns(), time.process_time_ns()
        if feed.max_age_ns is not None and start - frame.captured_ns > feed.max_age_ns:
            feed.table.settle(frame.frame_id, published=False)
            return False
        if feed.table.attempt(frame.frame_id) > _TRIES:
            feed.table.give_up(frame.frame_id)
            return False
        result = self._postprocess(outputs, place, frame)
        now, cpu_now = time.monotonic_ns(), time.process_time_ns()
        self._row.add(_POSTPROCESS, now - start, cpu_now - cpu)
        if feed.max_age_ns is not None and now - frame.captured_ns > feed.max_age_ns:
            feed.table.settle(frame.frame_id, published=False)
            return False
        seq = feed.table.settle(frame.frame_id, published=True)
        message = self._message(feed, frame, times, count, result, seq, now, now - start, model)
        self._send(self._topics[frame.source], message, result.blobs)
        self._recent[frame.source].add(now, now - frame.captured_ns)
        if self._tally is not None:
            self._tally.add(now - frame.captured_ns)
        self._row.add(_SEND, time.monotonic_ns() - now, time.process_time_ns() - cpu_now)
        return True

    def _message(
        self,
        feed: Feed,
        frame: FrameRecord,
        times: BatchTimes,
        count: int,
        result: Result,
        seq: int,
        now_ns: int,
        postprocess_ns: int,
        model: ModelRef,
    ) -> Prediction:
        return Prediction(
            device=self._identity.device,
            boot=self._identity.boot,
            seq=seq,
            at=round(time.time(), 6),
            source=feed.name,
            frame_id=frame.frame_id,
            captured_at=round(frame.captured_at_ns / 1e9, 6),
            captured_monotonic_ns=frame.captured_ns,
            age_ms=_ms(now_ns - frame.captured_ns),
            timing_ms=Timing(
                wait=_ms(times.closed_ns - frame.captured_ns),
                copy=_ms(times.copy_ns),
                infer=_ms(times.infer_ns),
                postprocess=_ms(postprocess_ns),
            ),
            batch=count,
            dropped=dropped(feed.table.counts()),
            frame=FrameSize(
                width=frame.width, height=frame.height, file=frame.file or UNSET, damaged=frame.damaged or UNSET
            ),
            model=model,
            task=self._identity.task,
            detections=result.detections,
            classes=result.classes,
            mask=result.mask,
            tensors=result.tensors,
        )


def dropped(counts: Counts) -> Dropped:
    """The losses among a source's counters."""
    return Dropped(
        overwritten=counts.overwritten,
        stale=counts.stale,
        decode_error=counts.decode_error,
        failed=counts.failed,
        shutdown=counts.shutdown,
    )


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
