# SPDX-License-Identifier: Apache-2.0
"""One frame of a source, kept for a second look: its pixels and what was inferred from them, side by side.

A source has one sample at a time. It goes from process to process; at any moment one of them may change it:

    capture copies a frame in ─▶ publish adds its outputs ─▶ verify looks at both, then gives it back to capture
                                 (or gives it back, when the frame was lost on its way)

There is no lock, so that a verify process that hangs keeps nobody waiting: each word has one writer, except ``DONE``,
which belongs to publish until it has handed over and to verify after that. The frame passes through its ring's lock on
its way from capture to publish, and a wake-up goes from publish to verify: both order the memory on any processor.
No numpy here, so that the supervisor may use it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from edged.records import FrameRecord, TensorSpec
from edged.shm.frame_layout import pack_look, unpack_look
from edged.shm.output_table import OutputLayout
from edged.shm.region import Region, align

_DIMENSIONS = 8
# Ids are stored with 1 added: 0 means that there has been none yet.
_PIXELS_AT, _PIXEL_BYTES, _OUTPUTS_AT, _HELD, _HANDED, _DONE, _TRIED, _SKIPPED, _UNPUBLISHED, _RECORD = range(10)
_RECORD_WORDS = 8
_SHAPES = _RECORD + _RECORD_WORDS
_COPYING = -1


class Sample:
    """The words of a sample's region; the methods are grouped by the process that calls them."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.words = region.words(0, _SHAPES)

    @classmethod
    def create(cls, frame_bytes: int, tensors: Sequence[TensorSpec]) -> Sample:
        """Make room for a sample.

        Args:
            frame_bytes: of the largest frame.
            tensors: the prepared graph's outputs.
        """
        pixels = align(8 * (_SHAPES + _DIMENSIONS * len(tensors)))
        outputs = align(pixels + frame_bytes)
        made = cls(Region.create("edged-sample", outputs + outputs_layout(tensors).slot_bytes))
        made.words[_PIXELS_AT], made.words[_PIXEL_BYTES], made.words[_OUTPUTS_AT] = pixels, frame_bytes, outputs
        return made

    @property
    def pixels(self) -> tuple[int, int]:
        """Where the pixels start in the region, and how many bytes there is room for."""
        return self.words[_PIXELS_AT], self.words[_PIXEL_BYTES]

    @property
    def outputs(self) -> int:
        """Where the output tensors start in the region, bytes."""
        return self.words[_OUTPUTS_AT]

    # capture ---------------------------------------------------------------------------------------------------------

    def claim(self) -> bool:
        """Take the sample to copy a frame in; False (and counted) while the last one is still being looked at."""
        words = self.words
        if words[_HELD] != words[_DONE]:
            words[_SKIPPED] += 1
            return False
        words[_HELD] = _COPYING
        return True

    def describe(self, frame: FrameRecord) -> None:
        """Write down what is known of the frame that is being copied in."""
        words = self.words
        words[_RECORD], words[_RECORD + 1] = frame.captured_ns, frame.captured_at_ns
        words[_RECORD + 2], words[_RECORD + 3] = frame.width, frame.height
        words[_RECORD + 4], words[_RECORD + 5] = frame.input_width, frame.input_height
        words[_RECORD + 6], words[_RECORD + 7] = pack_look(frame.view, frame.damaged)

    def seal(self, frame_id: int) -> None:
        """Say which frame it is, once it has been handed over to infer and has a number."""
        self.words[_HELD] = frame_id + 1

    def recover_claim(self) -> None:
        """At the start of a capture process: give back what the one before it had only claimed."""
        if self.words[_HELD] == _COPYING:
            self.words[_HELD] = self.words[_DONE]

    # publish ---------------------------------------------------------------------------------------------------------

    def awaits(self, frame_id: int) -> bool:
        """Whether the outputs of this frame are wanted."""
        words = self.words
        held = words[_HELD]
        return held == frame_id + 1 and held not in (words[_HANDED], words[_DONE])

    def set_shape(self, tensor: int, shape: Sequence[int]) -> None:
        """Write down the frame's shape of an output tensor."""
        words = self._shape_words(tensor)
        words[0] = len(shape)
        for place, extent in enumerate(shape):
            words[1 + place] = extent

    def hand_over(self) -> None:
        """Give the sample to verify; set its wake-up afterwards."""
        self.words[_HANDED] = self.words[_HELD]

    def pass_by(self, frame_id: int) -> None:
        """Note that a frame is settled: a sample of it, or of one before it, that was not handed over never will be."""
        words = self.words
        held = words[_HELD]
        if 0 < held <= frame_id + 1 and held not in (words[_HANDED], words[_DONE]):
            words[_UNPUBLISHED] += 1
            words[_DONE] = held

    # verify ----------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether frame and outputs are both there and verify has not given them back."""
        words = self.words
        held = words[_HELD]
        return held > 0 and held == words[_HANDED] and held != words[_DONE]

    def begin(self) -> FrameRecord:
        """Start to look at a sample that is ready; its record without source and file."""
        words = self.words
        words[_TRIED] = words[_HELD]
        captured_ns, captured_at_ns, width, height, in_width, in_height, first, second = words[_RECORD:_SHAPES]
        number, look = words[_HELD] - 1, unpack_look(first, second)
        return FrameRecord(0, number, captured_ns, captured_at_ns, width, height, in_width, in_height, "", *look)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The frame's shape of an output tensor."""
        words = self._shape_words(tensor)
        return tuple(words[1 : 1 + words[0]])

    def release(self) -> None:
        """Give the sample back to capture."""
        self.words[_DONE] = self.words[_HELD]

    def recover_tried(self) -> None:
        """At the start of a verify process: give back a sample over which the one before it may have died."""
        if self.ready and self.words[_TRIED] == self.words[_HELD]:
            self.release()

    # supervisor ------------------------------------------------------------------------------------------------------

    @property
    def skipped(self) -> int:
        """Frames that were due for a look while the sample was not free."""
        return self.words[_SKIPPED]

    @property
    def unpublished(self) -> int:
        """Samples of frames that were never published."""
        return self.words[_UNPUBLISHED]

    def close(self) -> None:
        """Release the mapping and the descriptor."""
        self.words.release()
        self.region.close()

    def _shape_words(self, tensor: int) -> memoryview:
        return self.region.words(8 * (_SHAPES + _DIMENSIONS * tensor), _DIMENSIONS)


def outputs_layout(tensors: Sequence[TensorSpec]) -> OutputLayout:
    """Where one frame's outputs lie, as in an output ring of one slot for one frame."""
    return OutputLayout(1, 1, tuple(tensors))
