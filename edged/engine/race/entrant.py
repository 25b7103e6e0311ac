# SPDX-License-Identifier: Apache-2.0
"""Who races, over what course, and how long it may take."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edged.engine.key import Backend
from edged.engine.report.candidate import Memory, Precision
from edged.records import TensorSpec
from edged.rig.pipe import Pipe


@dataclass(frozen=True)
class Course:
    """The pipeline that all race in: the daemon's own.

    Attributes:
        outputs: of the prepared graph, the same for all.
        frame: height, width of a frame, pixels.
        batches: sizes to be timed, each with its weight in the decision, see `realistic_batches`; with weight 0 a size
            is only shown.
        slots: batches under way at a time.
        fixed_batch: the only size that the graph takes; smaller batches are filled up. None where it takes any.
        io: ``engine.io`` of the settings; TensorRT only.
        contexts: ``engine.contexts``; TensorRT only.
        threads: ``engine.threads``; ONNX Runtime only.
        parallel: ONNX Runtime's runs at a time; 0 for what the daemon does with several sources. With a single live
            one it has 1.
    """

    outputs: Sequence[TensorSpec]
    frame: tuple[int, int]
    batches: Mapping[int, float] = field(default_factory=lambda: {1: 1.0})
    slots: int = 2
    fixed_batch: int | None = None
    io: str = "auto"
    contexts: int = 1
    threads: int = 0
    parallel: int = 0

    @property
    def max_batch(self) -> int:
        """The largest size."""
        return max(self.batches)

    @property
    def runs_at_a_time(self) -> int:
        """Of ONNX Runtime."""
        return self.parallel or max(1, min(self.slots, len(os.sched_getaffinity(0))))


def realistic_batches(live: int, lossless: int, max_batch: int) -> dict[int, float]:
    """Sizes and weights that suit the sources of a configuration.

    The size that such a daemon makes most decides alone: as many frames as there are live sources (one each), the
    largest batch where a lossless source fills it. Without sources 1 and the largest decide with equal weight, since
    nobody knows which it is going to be. 1 and the largest are timed in any case.

    Args:
        live: how many live sources.
        lossless: how many lossless ones.
        max_batch: frames of a batch at the most.
    """
    ends = {1: 0.0, max_batch: 0.0}
    if not live and not lossless:
        return dict.fromkeys(ends, 1.0)
    usual = max_batch if lossless else min(live, max_batch)
    return dict(sorted({**ends, usual: 1.0}.items()))


class Facts(NamedTuple):
    """What is known of an entrant once it is loaded.

    Attributes:
        io: how frames get to the device.
        memory: on the GPU; None without one.
        notes: what to know of its figures, a clause each.
    """

    io: str = ""
    memory: Memory | None = None
    notes: tuple[str, ...] = ()


class Stand(NamedTuple):
    """An entrant that is loaded; closing the pipe unloads it."""

    pipe: Pipe
    facts: Facts


@dataclass(frozen=True)
class Entrant:
    """A candidate.

    Attributes:
        name: unique in a race.
        precision: its precision.
        backend: what runs it.
        open: loads it and makes its pipeline; may be called again after the stand was closed.
        loss: points lost against FP32; None where that was not measured.
        error: standard error of the loss, points.
        refused_because: why it cannot win, for example that it does not hold the bound; empty where it can.
    """

    name: str
    precision: Precision
    backend: Backend
    open: Callable[[Course], Stand]
    loss: float | None = None
    error: float | None = None
    refused_because: str = ""


@dataclass(frozen=True)
class Limits:
    """How long a race may take.

    Attributes:
        seconds: for everything, loading included. A batch that runs when they are over is still waited for.
        turn_s: shortest turn of an entrant at a size.
        longest_turn_s: to which it grows where there is time; twice that where engines are loaded one at a time.
        rounds: fewest, if they fit into the time.
        most_rounds: after so many nothing more is learnt.
        together: load all at once, or one after the other in each round; None tries the first and falls back on the
            second when the GPU's memory runs out.
    """

    seconds: float = 60.0
    turn_s: float = 0.05
    longest_turn_s: float = 0.25
    rounds: int = 10
    most_rounds: int = 24
    together: bool | None = None
