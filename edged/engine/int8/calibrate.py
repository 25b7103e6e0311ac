# SPDX-License-Identifier: Apache-2.0
"""From what was seen of a model's tensors to plans: thresholds by method, shared where tensors meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import onnx

from edged.engine.int8.collect import PORTION_BYTES, Batches, collect
from edged.engine.int8.histogram import Histogram
from edged.engine.int8.plan import QuantizationPlan, digest_of, scale_for
from edged.engine.int8.ranges import STEPS, Method, threshold
from edged.engine.int8.run import Open
from edged.engine.int8.view import GraphView
from edged.errors import EngineError

DEFAULT_METHOD: Method = "percentile-99.999"


class Saturation(NamedTuple):
    """What a plan's scale does to a tensor.

    Attributes:
        tensor: its name.
        method: how the scale was found.
        largest: largest absolute value seen.
        threshold: what the scale reaches.
        clipped: part of the values beyond it, 0 to 1.
    """

    tensor: str
    method: str
    largest: float
    threshold: float
    clipped: float


class Calibration:
    """Makes plans for one graph.

    Args:
        view: of the graph.
        histograms: of every tensor of the view, for each set of frames by its name. A threshold is the largest that a
            set asks for, so that a rare case is not drowned by the many frames of the usual one.
        model: the graph's digest.

    Raises:
        EngineError: there is no set.
    """

    def __init__(self, view: GraphView, histograms: Mapping[str, Mapping[str, Histogram]], model: str) -> None:
        if not histograms:
            raise EngineError("there are no frames to calibrate with", where="calibration")
        self.view = view
        self.model = model
        self.histograms = histograms
        self._thresholds: dict[tuple[str, Method], float] = {}
        self._group = {name: group for group in view.shared for name in group}

    def threshold(self, tensor: str, method: Method) -> float:
        """A tensor's own threshold."""
        key = (tensor, method)
        if key not in self._thresholds:
            self._thresholds[key] = max(threshold(one[tensor], method) for one in self.histograms.values())
        return self._thresholds[key]

    def plan(
        self,
        nodes: Iterable[str],
        methods: Mapping[str, Method] | None = None,
        default: Method = DEFAULT_METHOD,
        bias: Mapping[str, tuple[float, ...]] | None = None,
    ) -> QuantizationPlan:
        """The plan that quantizes some nodes.

        Args:
            nodes: keys of candidates. An addition whose convolution is not among them is left out.
            methods: by tensor, where it is not the default.
            default: for all other tensors.
            bias: corrections by node; those of other nodes are left out.
        """
        wanted = frozenset(nodes)
        chosen = [one for one in self.view.of(wanted) if one.follows is None or one.follows in wanted]
        used = dict.fromkeys(name for one in chosen for name in one.inputs)
        method = {name: (methods or {}).get(name, default) for name in used}
        reach = {name: self.threshold(name, method[name]) for name in used}
        scales = {}
        for name in used:
            together = [reach[other] for other in self._group.get(name, (name,)) if other in reach]
            scales[name] = scale_for(max(together), STEPS)
        keys = tuple(one.key for one in chosen)
        return QuantizationPlan(
            model=self.model,
            nodes=keys,
            scales=scales,
            methods=dict(method),
            bias={key: bias[key] for key in keys if bias and key in bias},
        )

    def saturation(self, plan: QuantizationPlan) -> list[Saturation]:
        """What the plan's scales do to the values seen, in the set of frames where they clip most; worst first."""
        found = []
        for name, scale in plan.scales.items():
            reach = scale * STEPS
            seen = [one[name] for one in self.histograms.values()]
            largest, clipped = max(one.largest for one in seen), max(one.clipped(reach) for one in seen)
            found.append(Saturation(name, plan.methods.get(name, ""), largest, reach, clipped))
        return sorted(found, key=lambda one: (-one.clipped, one.tensor))


def calibrate(
    model: onnx.ModelProto,
    view: GraphView,
    sets: Mapping[str, Batches],
    open_graph: Open,
    *,
    portion_bytes: int = PORTION_BYTES,
) -> Calibration:
    """Run frames through the float model and make a calibration of what was seen.

    Args:
        model: the prepared graph.
        view: of it.
        sets: frames by the name of their set, see `collect` and `Calibration`.
        open_graph: makes a graph ready to run.
        portion_bytes: see `collect`.

    Raises:
        EngineError: there are no frames, or the model yields values that are not finite.
    """
    histograms = {
        name: collect(
            model, view.tensors, batches, open_graph, nbytes=view.nbytes, portion_bytes=portion_bytes
        ).histograms
        for name, batches in sets.items()
    }
    return Calibration(view, histograms, digest_of(model))
