# SPDX-License-Identifier: Apache-2.0
"""What a pipeline over filled rings gives back: all of it, also where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.bench_rig import subject
from support.open_files import open_files

from edged.bench.bays import CpuBay
from edged.errors import EdgedError, EngineError
from edged.records import TensorSpec
from edged.rig.pipe import Opened, Pipe, Rings


def test_rings_are_closed_where_no_executor_can_be_made() -> None:
    seen: list[Rings] = []

    def refuse(rings: Rings) -> Opened:
        seen.append(rings)
        raise EngineError("no such engine")

    before = open_files()
    with pytest.raises(EngineError):
        Pipe([TensorSpec("y", "float32", (4,))], (32, 32), 2, 4, refuse)
    assert not open_files() - before
    assert [ring.region.fd for ring in (seen[0].frames, seen[0].outputs)] == [-1, -1]


def test_an_engine_that_cannot_be_opened_leaves_nothing_in_the_bay(tmp_path: Path) -> None:
    found = subject(tmp_path)
    bay = CpuBay(found)
    Path(found.engine.path).write_bytes(b"no engine")
    before = open_files()
    with pytest.raises(EdgedError):
        bay.pipe(2, 4)
    assert not open_files() - before
