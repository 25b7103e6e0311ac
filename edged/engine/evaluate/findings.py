# SPDX-License-Identifier: Apache-2.0
"""What a model finds in images: the prepared graph, then the very postprocess that publishes, kept in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.options import EvaluationOptions
from edged.engine.evaluate.result import Box, FrameResult
from edged.engine.images import FrameBatches, Tell
from edged.errors import InternalError
from edged.graph.prepare import PreparedModel
from edged.model import ModelSpec
from edged.records import FrameRecord
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor, Result

Outputs = Mapping[str, NDArray[Any]]
Run = Callable[[NDArray[Any]], Outputs]
"""Takes frames, uint8 [N, H, W, 3] blue-green-red, and gives every output of the prepared graph by its name."""

WEAKEST_STRONG = 0.05
"""A detection that scores less is never one that users see, whatever the model spec's threshold."""
SAMPLES = 16384
"""Values of a raw tensor that are compared of a frame, at the most."""
SAMPLE_BYTES = 128 << 20
"""Values of raw tensors that are kept of all frames, at the most."""


class Detected(NamedTuple):
    """Detections of a frame, best first.

    Attributes:
        boxes: float64 [n, 4], x1, y1, x2, y2 in source pixels.
        scores: float64 [n].
        classes: int64 [n].
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]

    def above(self, score: float) -> Detected:
        """Those that score at least so much."""
        kept = self.scores >= score
        return Detected(self.boxes[kept], self.scores[kept], self.classes[kept])


class Classified(NamedTuple):
    """Class numbers and scores of a frame, best first."""

    classes: tuple[int, ...]
    scores: tuple[float, ...]


class Segmented(NamedTuple):
    """A frame's mask as published: a PNG, and the part of the source's picture that it covers, in its pixels."""

    png: bytes
    box: tuple[float, float, float, float]

    def cells(self) -> NDArray[np.uint8]:
        """Class numbers, uint8 [h, w]."""
        mask = cv2.imdecode(np.frombuffer(self.png, np.uint8), cv2.IMREAD_UNCHANGED)
        return np.asarray(mask, np.uint8)


class Sampled(NamedTuple):
    """Some values of each raw tensor of a frame, float32 each, always the same ones."""

    names: tuple[str, ...]
    values: tuple[NDArray[np.float32], ...]


Finding = Detected | Classified | Segmented | Sampled


class Reader:
    """Reads findings out of the prepared graph's outputs.

    Args:
        spec: the model spec.
        prepared: its prepared graph.
        options: of the evaluation.
        score_threshold: what scores less is no detection.
        images: how many are going to be read: bounds what is kept of raw tensors.
    """

    def __init__(
        self, spec: ModelSpec, prepared: PreparedModel, options: EvaluationOptions, score_threshold: float, images: int
    ) -> None:
        self._task = spec.task
        self._sampler = Sampler(min(SAMPLES, SAMPLE_BYTES // 4 // max(images * len(prepared.outputs), 1)))
        plan = PostprocessPlan(
            task=spec.task,
            # All classes of a classification: the best one counts, be it below the threshold.
            score_threshold=-np.inf if spec.task == "classification" else score_threshold,
            iou_threshold=spec.output.iou_threshold if options.iou_threshold is None else options.iou_threshold,
            max_detections=max(options.max_detections, spec.output.max_detections),
            resize=spec.input.resize,
            align=spec.input.align,
            nms=spec.decoder != "end2end",
        )
        self._postprocessor = Postprocessor(plan)

    def read(self, outputs: Outputs, place: int, record: FrameRecord) -> Finding:
        """Read one frame's part of a batch's outputs; nothing of their memory is kept."""
        if self._task == "raw":
            names = tuple(outputs)
            return Sampled(names, tuple(self._sampler.take(outputs[name][place]) for name in names))
        return _finding(self._postprocessor.run(outputs, place, record))


class Sampler:
    """Takes the same few values of every tensor of a size, evenly at random.

    Args:
        most: values of a tensor.
    """

    def __init__(self, most: int) -> None:
        self._most = max(most, 1)
        self._places: dict[int, NDArray[np.intp]] = {}

    def take(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The chosen values of a tensor, float32 [at most ``most``]; a copy."""
        flat = np.asarray(values).reshape(-1)
        if flat.size > self._most:
            if flat.size not in self._places:
                chosen = np.random.default_rng(0).choice(flat.size, self._most, replace=False, shuffle=False)
                self._places[flat.size] = np.sort(chosen)
            flat = flat[self._places[flat.size]]
        return flat.astype(np.float32)


def findings(
    run: Run, batches: FrameBatches, reader: Reader, fixed_batch: int | None, tell: Tell | None = None
) -> Iterator[Finding]:
    """Run images through a graph, one batch in memory at a time.

    Args:
        run: the graph.
        batches: the images.
        reader: reads the outputs.
        fixed_batch: the only batch size that the graph takes; batches are filled up to it.
        tell: called after each batch.

    Yields:
        What was found in each image, in order.
    """
    done, total = 0, sum(len(batches.images(index)) for index in range(len(batches)))
    for index in range(len(batches)):
        frames = batches[index]
        if fixed_batch is not None and len(frames) < fixed_batch:
            frames = np.concatenate([frames, np.repeat(frames[-1:], fixed_batch - len(frames), axis=0)])
        outputs = run(frames)
        for place, record in enumerate(batches.records(index)):
            yield reader.read(outputs, place, record)
            done += 1
        if tell is not None:
            tell(done, total)


def shown(finding: Finding, least: float = 0.0) -> FrameResult:
    """A finding as plain values, detections from a score on."""
    if isinstance(finding, Detected):
        some = finding.above(least)
        rows = zip(some.classes.tolist(), some.scores.tolist(), some.boxes.tolist(), strict=True)
        return FrameResult(boxes=tuple(Box(class_id=kind, score=score, box=tuple(box)) for kind, score, box in rows))
    if isinstance(finding, Classified):
        return FrameResult(classes=tuple(zip(finding.classes[:5], finding.scores[:5], strict=True)))
    if isinstance(finding, Segmented):
        return FrameResult(mask=finding.png, mask_box=finding.box)
    return FrameResult()


def _finding(result: Result) -> Finding:
    if not isinstance(result.detections, msgspec.UnsetType):
        found = result.detections
        return Detected(
            np.array([one.box for one in found], np.float64).reshape(-1, 4),
            np.array([one.score for one in found], np.float64),
            np.array([one.class_id for one in found], np.int64),
        )
    if not isinstance(result.classes, msgspec.UnsetType):
        return Classified(tuple(one.class_id for one in result.classes), tuple(one.score for one in result.classes))
    if not isinstance(result.mask, msgspec.UnsetType):
        return Segmented(result.blobs[0], result.mask.box)
    raise InternalError("postprocess gave nothing that can be evaluated", where="evaluation")
