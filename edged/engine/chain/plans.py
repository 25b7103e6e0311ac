# SPDX-License-Identifier: Apache-2.0
"""Runs the plans of a search: each as a graph of its own, or all with one graph that has switches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edged.engine.bench import Bench
from edged.engine.chain.calibrating import Subject
from edged.engine.evaluate.evaluator import Evaluator
from edged.engine.evaluate.result import Evaluation
from edged.engine.int8.correct import Corrector, in_digits
from edged.engine.int8.distance import Meter, compared
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.run import Outputs, Run, Settable, open_onnxruntime
from edged.engine.int8.switched import MEANS, switched
from edged.engine.int8.write import write

Frames = Sequence[NDArray[Any]]


class Plans(Protocol):
    """What a search asks of plans."""

    def distance(self, plan: QuantizationPlan) -> float:
        """From the float model, on calibration images."""
        ...

    def evaluation(self, plan: QuantizationPlan) -> Evaluation:
        """On images that calibration never saw."""
        ...

    def correct(self, plan: QuantizationPlan) -> Mapping[str, tuple[float, ...]]:
        """Corrections for its nodes."""
        ...


class WrittenPlans:
    """Each plan is a graph of its own, in ONNX Runtime.

    Args:
        subject: the graph that is quantized.
        evaluator: judges plans.
        bench: runs graphs.
        ranked: frames on which plans are compared with the float model.
        corrected: frames by which means are corrected.
        fused: judge plans with ONNX Runtime's INT8 kernels instead of exact arithmetic on the rounded values.
    """

    def __init__(
        self, subject: Subject, evaluator: Evaluator, bench: Bench, ranked: Frames, corrected: Frames, *, fused: bool
    ) -> None:
        self._subject = subject
        self._evaluator = evaluator
        self._fused = fused
        self._open: Callable[..., Settable] = bench.open
        self._meter = Meter(subject.model, ranked, self._open)
        self.correct = Corrector(subject.model, subject.view, corrected, self._open)

    def distance(self, plan: QuantizationPlan) -> float:
        """See `Plans`."""
        return self._meter.distance(self._written(plan))

    def evaluation(self, plan: QuantizationPlan) -> Evaluation:
        """See `Plans`."""
        graph = self._written(plan)
        if not self._fused:
            return self._evaluator.loss(self._open(graph))
        # The kernels that are going to serve: those of the CPU, whatever measures.
        libraries = self._subject.job.request.plugins
        return self._evaluator.loss(open_onnxruntime(graph, fused=True, libraries=libraries))

    def _written(self, plan: QuantizationPlan) -> Any:
        return write(self._subject.model, self._subject.view, plan)


class SwitchedPlans:
    """One graph for all plans, on a bench that takes long to open one.

    Args:
        subject: the graph that is quantized.
        evaluator: judges plans.
        bench: runs the graph.
        ranked: frames on which plans are compared with the float model.
        corrected: frames by which means are corrected.

    Raises:
        EngineError: the bench does not take the graph.
    """

    def __init__(self, subject: Subject, evaluator: Evaluator, bench: Bench, ranked: Frames, corrected: Frames) -> None:
        outputs = [spec.name for spec in subject.job.prepared.outputs]
        self._switches = switched(subject.model, subject.view, [*compared(subject.model), *outputs])
        self._outputs = outputs
        self._evaluator = evaluator
        self._corrected = corrected
        self._run = bench.open(self._switches.model)
        blank = QuantizationPlan(model=subject.digest, nodes=(), scales={})
        self._meter = Meter(subject.model, ranked, lambda _graph: self._as(blank))

    def distance(self, plan: QuantizationPlan) -> float:
        """See `Plans`."""
        return self._meter.distance_of(self._as(plan))

    def evaluation(self, plan: QuantizationPlan) -> Evaluation:
        """See `Plans`."""
        run = self._as(plan)

        def kept(frames: NDArray[Any]) -> Outputs:
            found = run(frames)
            return {name: np.array(found[name]) for name in self._outputs}

        return self._evaluator.loss(kept)

    def correct(self, plan: QuantizationPlan) -> Mapping[str, tuple[float, ...]]:
        """See `Plans`."""
        if not self._switches.means:
            return {}
        values = self._switches.values(plan, on=False)
        total, frames = 0.0, 0
        for batch in self._corrected:
            found = self._run(batch, values)[MEANS]
            total = total + found.sum(axis=0, dtype=np.float64)
            frames += len(found)
        shifts = self._switches.shifts(np.asarray(total) / max(frames, 1))
        return {key: in_digits(shifts[key].tolist()) for key in plan.nodes if key in shifts}

    def _as(self, plan: QuantizationPlan) -> Run:
        return partial(self._run, values=self._switches.values(plan))
