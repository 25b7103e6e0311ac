# SPDX-License-Identifier: Apache-2.0
"""INT8 that holds the bound where it was searched for, and loses more in its own engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.chains import Rig, write_rig
from support.engines import FakeToolkit, Heard

from edged.engine.build import build
from edged.engine.chain.considered import Considered
from edged.engine.chain.racing import Outcome, Weights
from edged.engine.manifest import Manifest, decode
from edged.engine.protocol import BuildRequest, Note
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Run, Workshop
from edged.errors import AccuracyRefusedError
from edged.graph.prepare import PreparedModel


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return write_rig(tmp_path)


class Worse(FakeToolkit):
    """A GPU that is wrong where it computes more than some layers in INT8."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    @contextlib.contextmanager
    def open(self, plan: bytes, prepared: PreparedModel, max_batch: int) -> Iterator[Run]:
        graph = next(graph for graph, options in reversed(self.built) if f"plan {options.precision}".encode() in plan)
        layers = sum(node.op_type == "Conv" and node.input[0].endswith("/dq") for node in graph.graph.node)
        with super().open(plan, prepared, max_batch) as run:
            yield (lambda frames: run(255 - frames)) if layers > self._most else run


def built(rig: Rig, most: int, heard: Heard, precision: str) -> Manifest:
    def tensorrt(asked: BuildRequest) -> Workshop:
        return TrtWorkshop(Worse(most))

    def fastest(workshop: Workshop, some: Sequence[Considered], weights: Weights) -> Outcome:
        return Outcome(next(one.name for one in reversed(some) if not one.refused), "", {})

    asked: Any = rig.request(backend="tensorrt", precision=precision)
    done = build(asked, heard, tensorrt=tensorrt, race=fastest)
    return decode((Path(done.folder) / "engine.json").read_bytes())


def again(heard: Heard) -> int:
    return sum("held the bound in the search; its engine loses" in one.text for one in heard.of(Note))


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_layers_are_given_back_until_the_engine_itself_holds(rig: Rig, precision: str) -> None:
    heard = Heard()
    manifest = built(rig, 2, heard, precision)
    assert manifest.fields.precision == "int8"
    assert manifest.int8 is not None
    assert 0 < manifest.int8.share < 0.7
    assert manifest.evaluation is not None
    assert manifest.evaluation.loss <= 1.0
    assert 1 <= again(heard) <= 2


def test_where_even_that_does_not_hold_it_is_refused(rig: Rig) -> None:
    heard = Heard()
    assert built(rig, 0, heard, "auto").fields.precision == "fp16"
    assert 1 <= again(heard) <= 2
    with pytest.raises(AccuracyRefusedError, match=r"int8 \(.*\) loses .* points of agreement, 1 allowed"):
        built(rig, 0, Heard(), "int8")
