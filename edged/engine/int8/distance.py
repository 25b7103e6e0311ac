# SPDX-License-Identifier: Apache-2.0
"""How far a quantized model's answers are from the float model's on the same frames: no labels needed.

What is compared are the model's own outputs, and the scores by which edged's output step chooses (the input of its
top-k), as far as there are any. An error in a detector's box matters where the box would be chosen, so outputs that
have an axis as long as the scores are weighted by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.engine.int8.collect import Batches, exposing
from edged.engine.int8.graph import OUTPUT_STEP, Links
from edged.engine.int8.run import Open, Outputs, Run

REFERENCE_BYTES = 192 << 20
"""Of the float model's answers that are kept; further frames are left out, but never the first."""
_LITTLE = 1e-12

Floats = NDArray[np.float64]


class Meter:
    """Compares variants of a model with the model itself.

    ``distance² = mean over the tensors compared of  Σ w (y - r)² / Σ w (r - m)²``, where y is what the variant says, r
    what the float model says, m the mean of r (weighted alike; 0 for scores), w the weight: 0 is equal, 1 is as wrong
    as if nothing had been computed.

    Args:
        model: the float graph.
        batches: frames to compare on.
        open_graph: makes a graph ready to run.
    """

    def __init__(self, model: onnx.ModelProto, batches: Batches, open_graph: Open) -> None:
        self._open = open_graph
        self._scores = scores_of(Links(model))
        self._names = compared(model)
        self._batches: list[NDArray[Any]] = []
        self._reference: list[dict[str, NDArray[Any]]] = []
        self._take(open_graph(exposing(model, self._names)), batches)

    @property
    def frames(self) -> int:
        """How many frames are compared."""
        return sum(len(batch) for batch in self._batches)

    @property
    def names(self) -> Sequence[str]:
        """The tensors that are compared."""
        return tuple(self._names)

    def distance(self, model: onnx.ModelProto) -> float:
        """How far a variant is from the float model; infinite where it yields what is no number."""
        return self.distance_of(self._open(exposing(model, self._names)))

    def distance_of(self, run: Run) -> float:
        """How far what runs a variant is from the float model; it gives at least the tensors that are compared."""
        errors = dict.fromkeys(self._names, 0.0)
        sizes = dict.fromkeys(self._names, 0.0)
        for batch, reference in zip(self._batches, self._reference, strict=True):
            found = run(batch)
            for name in self._names:
                error, size = self._compare(name, reference, found)
                errors[name] += error
                sizes[name] += size
        total = float(np.mean([errors[name] / max(sizes[name], _LITTLE) for name in self._names]))
        return float(np.sqrt(total)) if np.isfinite(total) else float("inf")

    def _take(self, run: Any, batches: Batches) -> None:
        kept = 0
        for batch in batches:
            found = run(batch)
            answer = {name: np.array(found[name]) for name in self._names}
            nbytes = sum(values.nbytes for values in answer.values())
            if self._batches and kept + nbytes > REFERENCE_BYTES:
                return
            kept += nbytes
            self._batches.append(batch)
            self._reference.append(answer)

    def _compare(self, name: str, reference: Outputs, found: Outputs) -> tuple[float, float]:
        right = reference[name].astype(np.float32)
        wrong = found[name].astype(np.float32) - right
        if name == self._scores:
            return _squares(wrong), _squares(right)
        weights = None if self._scores is None else _weights(reference[self._scores], found[self._scores], right.shape)
        if weights is None:
            return _squares(wrong), _squares(right - right.mean())
        weighted = np.broadcast_to(weights, right.shape)
        mean = float((right * weighted).sum(dtype=np.float64)) / max(float(weighted.sum(dtype=np.float64)), _LITTLE)
        root = np.sqrt(weights)
        return _squares(wrong * root), _squares((right - mean) * root)


def compared(model: onnx.ModelProto) -> list[str]:
    """The tensors by which variants of a graph are compared: its raw outputs, and the scores it chooses by."""
    links = Links(model)
    scores = scores_of(links)
    return list(dict.fromkeys([*links.raw_outputs(), *([scores] if scores else [])]))


def scores_of(links: Links) -> str | None:
    """The tensor by which the output step chooses, in float; None where it does not choose."""
    for node in links.nodes.values():
        if node.name.startswith(OUTPUT_STEP) and node.op_type == "TopK":
            return str(node.input[0])
    return None


def _squares(values: NDArray[Any]) -> float:
    flat = values.reshape(-1)
    return float(np.dot(flat, flat))


def _weights(right: NDArray[Any], found: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Scores [N, A], whichever model's are higher, shaped to fit an output with an axis of length A; None: no such."""
    if right.ndim != 2 or len(shape) < 3 or shape[0] != right.shape[0] or right.min() < 0:
        return None
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == right.shape[1]]
    if len(axes) != 1:
        return None
    both: NDArray[np.float32] = np.maximum(right, np.maximum(found, 0)).astype(np.float32)
    return both.reshape([shape[0], *(right.shape[1] if axis == axes[0] else 1 for axis in range(1, len(shape)))])
