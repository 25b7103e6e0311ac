# SPDX-License-Identifier: Apache-2.0
"""Slot table of the ring that carries results from infer to publish; no numpy, so that the supervisor may read it.

A slot holds one batch: what is known of its frames, how long it took, and the output tensors. It goes FREE → READY →
FREE; infer fills free slots in order and publish empties them in the same order.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from edged.records import FrameRecord, TensorSpec
from edged.shm.frame_layout import NAME_BYTES, pack_look, unpack_look
from edged.shm.frame_table import RECORD_WORDS, FrameTable
from edged.shm.region import Region, align
from edged.shm.table import HEADER_BYTES, Table

_FREE, _READY = 0, 1
_ITEM_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "uint32": 4, "int32": 4, "float32": 4,
    "uint64": 8, "int64": 8, "float64": 8,
}  # fmt: skip

_NEXT = 0
_HEADER = 8
_STATE, _SEQ, _COUNT, _CLOSED_NS, _COPY_NS, _INFER_NS, _GENERATION = range(7)
_BATCH_WORDS = 8
_DIMENSIONS = 8
_FRAME_WORDS = 1 + RECORD_WORDS  # the source, then what the frame ring says


class BatchTimes(NamedTuple):
    """When a batch was closed (CLOCK_MONOTONIC) and how long copy and inference took, all in nanoseconds."""

    closed_ns: int
    copy_ns: int
    infer_ns: int


@dataclass(frozen=True)
class OutputLayout:
    """Where things lie in an output ring's region.

    Attributes:
        slots: batches that fit.
        max_batch: frames of a batch at the most.
        tensors: the prepared graph's outputs.
    """

    slots: int
    max_batch: int
    tensors: tuple[TensorSpec, ...]

    @property
    def stride(self) -> int:
        """Words of a slot."""
        return _BATCH_WORDS + _DIMENSIONS * len(self.tensors) + _FRAME_WORDS * self.max_batch

    @property
    def words(self) -> int:
        """Words of the table."""
        return _HEADER + self.stride * self.slots

    @property
    def names(self) -> int:
        """Byte offset of the file names."""
        return HEADER_BYTES + 8 * self.words

    @property
    def data(self) -> int:
        """Byte offset of the first slot's tensors, on a page boundary."""
        return align(self.names + NAME_BYTES * self.max_batch * self.slots)

    def tensor_bytes(self, index: int) -> int:
        """Bytes that a slot reserves for one tensor."""
        tensor = self.tensors[index]
        return align(self.max_batch * prod(tensor.shape) * _ITEM_BYTES[tensor.dtype], 64)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot's tensors."""
        return align(sum(self.tensor_bytes(index) for index in range(len(self.tensors))))

    def tensor_offset(self, slot: int, index: int) -> int:
        """Byte offset of a tensor in the region."""
        return self.data + slot * self.slot_bytes + sum(self.tensor_bytes(before) for before in range(index))

    @property
    def total(self) -> int:
        """Bytes of the region."""
        return self.data + self.slots * self.slot_bytes


class OutputTable:
    """The slot table of an output ring.

    Attributes:
        generation: which of the daemon's engines computes what this process delivers: 0 for the first one, 1 more with
            every swap.
    """

    def __init__(self, region: Region, layout: OutputLayout, *, create: bool = False) -> None:
        self.region = region
        self.layout = layout
        self._table = Table(region, layout.words, create=create)
        self._words = self._table.words
        size = NAME_BYTES * layout.max_batch * layout.slots
        self._names = memoryview(region.map)[layout.names : layout.names + size]
        self._bases = [_HEADER + layout.stride * slot for slot in range(layout.slots)]
        self._frames = _BATCH_WORDS + _DIMENSIONS * len(layout.tensors)
        self.generation = 0

    @classmethod
    def create(cls, layout: OutputLayout) -> OutputTable:
        """Make a new ring."""
        return cls(Region.create("edged-outputs", layout.total), layout, create=True)

    # infer -----------------------------------------------------------------------------------------------------------

    def free_slots(self) -> list[int]:
        """Free slots in the order in which they are to be filled."""
        with self._table.locked():
            slots = self.layout.slots
            start = self._words[_NEXT] % slots
            order = [(start + step) % slots for step in range(slots)]
            return [slot for slot in order if self._words[self._bases[slot] + _STATE] == _FREE]

    def free_slot(self, used: Container[int] = ()) -> int | None:
        """The free slot to fill next that is not in ``used``; None when there is none.

        Without the lock: only publish frees slots, one word each, and only infer fills them.
        """
        words, slots = self._words, self.layout.slots
        start = words[_NEXT]
        for step in range(slots):
            slot = (start + step) % slots
            if slot not in used and words[self._bases[slot] + _STATE] == _FREE:
                return slot
        return None

    def describe_taken(self, slot: int, taken: Sequence[tuple[int, FrameTable, int]]) -> None:
        """Write down which frames a free slot's batch consists of, straight from their rings.

        Args:
            slot: the free slot.
            taken: (source, its ring, slot in it) of frames that the caller holds.
        """
        words, base = self._words, self._bases[slot]
        words[base + _COUNT] = len(taken)
        at = base + self._frames
        for place, (source, table, held) in enumerate(taken):
            words[at] = source
            words[at + 1 : at + _FRAME_WORDS] = table.record_words(held)
            length = words[at + _FRAME_WORDS - 1]
            if length:
                start = NAME_BYTES * (slot * self.layout.max_batch + place)
                self._names[start : start + length] = table.name(held, length)
            at += _FRAME_WORDS

    def describe(self, slot: int, frames: Sequence[FrameRecord]) -> None:
        """Write down which frames a free slot's batch consists of."""
        words = self._words
        base = self._bases[slot]
        words[base + _COUNT] = len(frames)
        for place, frame in enumerate(frames):
            at = base + self._frames + _FRAME_WORDS * place
            name = frame.file.encode("utf-8")[:NAME_BYTES] if frame.file else b""
            start = NAME_BYTES * (slot * self.layout.max_batch + place)
            self._names[start : start + len(name)] = name
            words[at], words[at + 1] = frame.source, frame.frame_id
            words[at + 2], words[at + 3] = frame.captured_ns, frame.captured_at_ns
            words[at + 4], words[at + 5] = frame.width, frame.height
            words[at + 6], words[at + 7] = frame.input_width, frame.input_height
            words[at + 8], words[at + 9] = pack_look(frame.view, frame.damaged)
            words[at + 10] = len(name)

    def set_shape(self, slot: int, tensor: int, shape: Sequence[int]) -> None:
        """Write down one frame's shape of an output tensor, for outputs whose shape varies."""
        base = self._bases[slot] + _BATCH_WORDS + _DIMENSIONS * tensor
        self._words[base] = len(shape)
        for place, extent in enumerate(shape):
            self._words[base + 1 + place] = extent

    def deliver(self, slot: int, times: BatchTimes) -> None:
        """Hand a filled slot over to publish."""
        words, base = self._words, self._bases[slot]
        words[base + _CLOSED_NS], words[base + _COPY_NS], words[base + _INFER_NS] = times
        words[base + _GENERATION] = self.generation
        with self._table.locked():
            number = words[_NEXT]
            self._table.change([(base + _SEQ, number), (base + _STATE, _READY), (_NEXT, number + 1)])

    # publish ---------------------------------------------------------------------------------------------------------

    def oldest(self) -> int | None:
        """The slot to publish next; None when nothing is ready."""
        with self._table.locked():
            ready = self._ready()
        return ready[0] if ready else None

    def frames(self, slot: int) -> list[FrameRecord]:
        """The frames of a slot's batch."""
        words, base = self._words, self._bases[slot] + self._frames
        found = []
        for place in range(words[self._bases[slot] + _COUNT]):
            values = list(words[base + _FRAME_WORDS * place : base + _FRAME_WORDS * (place + 1)])
            start = NAME_BYTES * (slot * self.layout.max_batch + place)
            name = bytes(self._names[start : start + values[-1]]).decode("utf-8", "ignore")
            found.append(_record(values, name))
        return found

    def times(self, slot: int) -> BatchTimes:
        """How long a slot's batch took."""
        base = self._bases[slot]
        return BatchTimes(*self._words[base + _CLOSED_NS : base + _INFER_NS + 1])

    def generation_of(self, slot: int) -> int:
        """Which of the daemon's engines computed a slot's batch."""
        return self._words[self._bases[slot] + _GENERATION]

    def shape(self, slot: int, tensor: int) -> tuple[int, ...]:
        """One frame's shape of an output tensor."""
        spec = self.layout.tensors[tensor]
        if spec.fixed:
            return spec.shape
        base = self._bases[slot] + _BATCH_WORDS + _DIMENSIONS * tensor
        return tuple(self._words[base + 1 : base + 1 + self._words[base]])

    def release(self, slot: int) -> None:
        """Free a slot whose results are published."""
        with self._table.locked():
            self._words[self._bases[slot] + _STATE] = _FREE

    # supervisor ------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Batches that wait for publish; without the lock, so good for a guess also while somebody is stuck with it."""
        words = self._words
        return sum(words[base + _STATE] == _READY for base in self._bases)

    def delivered(self) -> dict[int, set[int]]:
        """Frame ids whose results lie ready, by source."""
        found: dict[int, set[int]] = {}
        with self._table.locked():
            for slot in self._ready():
                for frame in self.frames(slot):
                    found.setdefault(frame.source, set()).add(frame.frame_id)
        return found

    def be_patient_for(self, seconds: float) -> None:
        """How long this process waits for the lock from now on; SharedMemoryError after that."""
        self._table.be_patient_for(seconds)

    def close(self) -> None:
        """Release the mapping and the descriptors."""
        self._names.release()
        self._table.close()
        self.region.close()

    def _ready(self) -> list[int]:
        words = self._words
        slots = [slot for slot, base in enumerate(self._bases) if words[base + _STATE] == _READY]
        return sorted(slots, key=lambda slot: words[self._bases[slot] + _SEQ])


def _record(values: Sequence[int], name: str) -> FrameRecord:
    source, frame_id, captured_ns, captured_at_ns, width, height, in_width, in_height, first, second, _ = values
    look = unpack_look(first, second)
    return FrameRecord(source, frame_id, captured_ns, captured_at_ns, width, height, in_width, in_height, name, *look)
