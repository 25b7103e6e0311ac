# SPDX-License-Identifier: Apache-2.0
"""When a new engine is good enough to take over."""

from __future__ import annotations

import pytest

from edged.messages import ModelRef
from edged.records import TensorSpec
from edged.runtime.briefing import Prepared
from edged.runtime.plans import ChosenEngine, OutputPlan
from edged.runtime.swap_trial import FEWEST, Comparison


def running(precision: str, bound: float | None, path: str = "/engine") -> Prepared:
    engine = ChosenEngine(
        backend="onnxruntime", precision=precision, key="k", path=path, max_batch=None, agreement_bound=bound
    )
    model = ModelRef(id="m", engine="k", backend="onnxruntime", precision=precision)
    outputs = OutputPlan(slots=4, max_batch=1, tensors=(TensorSpec("a", "float32", (1,)),))
    return Prepared(engine, model, [], (8, 8), outputs, 0, None, reference="/graph")


@pytest.mark.parametrize(
    ("old", "new", "bound"),
    [
        (("fp32", None, "/graph"), ("int8", 97.0), 95.0),  # never stricter than what unmeasured engines get
        (("fp32", None, "/graph"), ("int8", 90.0), 90.0),
        (("int8", 92.0), ("int8", 90.0), 82.0),  # both may be off, and in opposite directions
        (("fp32", None), ("fp32", None), 95.0),
        (("fp16", None), ("int8", None), 90.0),
    ],
)
def test_what_is_asked_for(old: tuple[str, float | None], new: tuple[str, float | None], bound: float) -> None:
    assert Comparison(running(*old), running(*new)).bound == bound


def test_frames_in_which_nothing_is_found_say_nothing() -> None:
    comparison = Comparison(running("fp32", None), running("int8", 95.0))
    for _ in range(10):
        comparison.add(100.0, empty=True)
    assert comparison.verdict.good
    comparison.add(90.0, empty=False)
    assert comparison.verdict[:2] == (90.0, 11)
    assert not comparison.verdict.good
    for _ in range(10):
        comparison.add(100.0, empty=False)
    assert comparison.verdict.good


def test_a_few_frames_are_not_enough() -> None:
    comparison = Comparison(running("fp32", None), running("fp32", None))
    for count in range(1, FEWEST + 1):
        comparison.add(100.0, empty=False)
        assert comparison.verdict.good == (count >= FEWEST)
