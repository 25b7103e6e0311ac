# SPDX-License-Identifier: Apache-2.0
"""Errors on demand in the CUDA bindings: the wrapper, and every call of the executor over a stand-in driver."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.stub_driver import on_stub_driver

from tools.gpu.faulty import FaultyDriver
from tools.gpu.sabotage import VARIABLE, Fault, parse, sabotaged

HERE = Path(__file__).resolve().parent


def driver(done: list[str]) -> Any:
    """Three functions that note their use."""

    def function(name: str, *answer: int) -> Any:
        def call(*_: object) -> tuple[int, ...]:
            done.append(name)
            return (0, *answer)

        return call

    return SimpleNamespace(
        cuInit=function("init"),
        cuMemAlloc=function("alloc", 512),
        cuMemFree=function("free"),
        CUdevice_attribute=SimpleNamespace(A=1),
    )


def test_the_nth_call_fails_once() -> None:
    done: list[str] = []
    faulty = FaultyDriver(driver(done))
    faulty.plan("cuMemAlloc", 2, 2)
    assert faulty.cuMemAlloc(1) == (0, 512)
    assert not faulty.fired
    assert faulty.cuMemAlloc(1)[0] == 2
    assert faulty.fired
    assert faulty.cuMemAlloc(1) == (0, 512)
    assert done == ["alloc", "alloc"]
    assert faulty.counts["cuMemAlloc"] == 3
    assert faulty.CUdevice_attribute.A == 1


def test_a_lost_gpu_stays_lost_but_takes_everything_back() -> None:
    done: list[str] = []
    faulty = FaultyDriver(driver(done))
    faulty.plan("cuMemAlloc", 1, 700)
    assert [faulty.cuMemAlloc(1)[0], faulty.cuInit(0)[0], faulty.cuMemFree(512)[0]] == [700, 700, 700]
    assert done == ["free"]
    faulty.heal()
    assert faulty.cuInit(0) == (0,)


def test_an_error_that_may_not_happen_does_not() -> None:
    faulty = FaultyDriver(driver([]))
    faulty.plan("cuInit", 1, 700, lambda: False)
    assert faulty.cuInit(0) == (0,)
    assert not faulty.fired


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-python is not installed")
@pytest.mark.parametrize(("role", "kind"), [("infer", "FaultyDriver"), ("prepare", "module")])
def test_a_daemons_processes_take_the_fault_from_the_environment(tmp_path: Path, role: str, kind: str) -> None:
    fault = Fault("cuInit", 1, 700, 1, tmp_path)
    code = "from edged.gpu import load; print(type(load.cuda_driver()).__name__)"
    with sabotaged(fault):
        assert parse(os.environ[VARIABLE]) == fault
        command = [sys.executable, "-c", code, role, "model"]
        paths = os.pathsep.join([os.environ["PYTHONPATH"], str(HERE.parent.parent)])
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": paths}, check=True
        )
    assert done.stdout.strip() == kind
    assert VARIABLE not in os.environ
    assert (fault.may_fire(), fault.may_fire(), fault.fired) == (True, False, 1)


def test_every_call_of_the_executor_may_fail(tmp_path: Path) -> None:
    results = json.loads(on_stub_driver(HERE / "stub_injection.py", tmp_path))
    assert {name for name, row in results.items() if row["ok"]} == {"errors-at-load", "errors-at-work"}, results
    # Both phases must really have had calls to fail.
    assert {"cuMemAlloc", "cuGraphInstantiate", "cuStreamEndCapture"} <= set(results["errors-at-load"]["names"])
    assert {"cuGraphLaunch", "cuEventRecord", "cuLaunchHostFunc"} <= set(results["errors-at-work"]["names"])
