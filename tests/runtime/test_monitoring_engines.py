# SPDX-License-Identifier: Apache-2.0
"""Which engines of a real store the governor may put in the place of what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from support.engines import write_model
from support.swapping import store_quicker

from edged.engine.manifest import Candidate
from edged.engine.store import model_folder, read_engine
from edged.graph.prepare import FOLDER, prepare
from edged.model_file import load_spec
from edged.monitor.governor.loads import SmallerEngine
from edged.runtime import briefing
from edged.runtime.monitoring_engines import smaller_engines
from edged.runtime.setup import resolve
from edged.settings import Settings


class Stored:
    """A store with two engines, FP32 and INT8; a race is said to have found the second quicker."""

    def __init__(self, folder: Path) -> None:
        spec = write_model(folder / "model")
        self.state = folder / "state"
        self.big, self.small = store_quicker(self.state, spec, {"fp32": 10.0, "int8": 4.0})
        content: dict[str, Any] = {
            "daemon": {"name": "gate", "state_dir": self.state},
            "sources": [{"name": "north", "uri": "synthetic://shapes"}],
            "model": {"spec": spec},
            "publish": {"bind": ["tcp://127.0.0.1:5999"]},
        }
        self._setup = resolve(Settings.model_validate(content))
        self._model = prepare(load_spec(spec), self.state / FOLDER)

    def smaller(self, key: str, precision: str = "fp32", state: Path | None = None, **plan: Any) -> list[SmallerEngine]:
        """What may take the place of an engine."""
        path = self._model.path
        engine = {"backend": "onnxruntime", "precision": precision, "key": key, "path": path, "max_batch": None}
        body = {**msgspec.to_builtins(self._model), **plan}
        found = briefing.prepared(self._setup, {"batch": 0, "engine": engine, "model": body})
        return smaller_engines(state or self.state, found)

    def consider(self, candidates: Sequence[Candidate]) -> None:
        """Have the smaller engine's manifest tell of other candidates."""
        found = read_engine(model_folder(self.state, "tiny"), self.small)
        manifest = replace(found.manifest, candidates=tuple(candidates))
        (found.path.parent / "engine.json").write_bytes(msgspec.json.encode(manifest))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(tmp_path_factory.mktemp("stored"))


def test_engines_that_were_found_quicker_are_smaller_ones(stored: Stored) -> None:
    # Beside one that was built, and the prepared graph, which was not.
    assert stored.smaller(stored.big) == stored.smaller("bare") == [SmallerEngine(stored.small, 0.4)]
    # No other one has as many outputs, or is quicker.
    assert stored.smaller("bare", outputs=[["other", "float32", [4]]]) == []
    assert stored.smaller("bare", fixed_batch=2) == []
    assert stored.smaller(stored.small, "int8") == []


def _keyed(int8: Candidate, left: Candidate) -> tuple[Candidate, Candidate]:
    return int8, left


def _unkeyed(int8: Candidate, left: Candidate) -> tuple[Candidate, Candidate]:
    return replace(int8, key=""), replace(left, key="")


@pytest.mark.parametrize("told", [_keyed, _unkeyed])
@pytest.mark.parametrize("last", [0, 1])
def test_of_several_int8_candidates_the_engine_in_the_store_counts(
    stored: Stored, told: Callable[[Candidate, Candidate], Sequence[Candidate]], last: int
) -> None:
    fp32 = Candidate(precision="fp32", latency_ms={"1": 10.0}, key=stored.big)
    int8 = Candidate(precision="int8", latency_ms={"1": 4.0}, note="int8 (50%): chosen", key=stored.small)
    left = Candidate(precision="int8", latency_ms={"1": 2.0}, note="int8 (90%): loses 3.0 points", key="left")
    some = told(int8, left)
    stored.consider([fp32, *(some[::-1] if last else some)])
    assert stored.smaller(stored.big) == stored.smaller("bare") == [SmallerEngine(stored.small, 0.4)]


def test_without_a_store_there_is_no_smaller_engine(stored: Stored, tmp_path: Path) -> None:
    assert stored.smaller("bare", state=tmp_path / "nowhere") == []
    folder = model_folder(tmp_path, "tiny")
    folder.mkdir(parents=True)
    (folder / "current.json").write_text("{")
    assert stored.smaller("bare", state=tmp_path) == []
