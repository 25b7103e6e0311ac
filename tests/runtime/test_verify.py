# SPDX-License-Identifier: Apache-2.0
"""The supervisor's side of verifying: figures, one event each way, and a process that may die and hang as it likes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.daemon import wait_until

from edged.errors import InternalError, ModelError
from edged.messages_stats import Verified
from edged.records import TensorSpec
from edged.runtime.channel import Note
from edged.runtime.launch import ProcessLauncher
from edged.runtime.plans import ChosenEngine
from edged.runtime.verify import DEFAULT_BOUND, Data, Verification
from edged.runtime.verify_main import step_back
from edged.shm.sample import Sample

ENGINE = ChosenEngine(backend="onnxruntime", precision="int8", key="k", path="/engine", max_batch=None)


class Heard(list[tuple[str, str, Data]]):
    """Keeps events."""

    def __call__(self, kind: str, source: str, severity: str, text: str, data: Data | None = None, /) -> None:
        self.append((kind, severity, data or {"text": text}))


def checked(points: float, *, shift: float | None = 0.0, empty: bool = False) -> Note:
    body = {"source": 0, "frame_id": 1, "points": points, "score_shift": shift, "empty": empty}
    return Note("checked", body, [])


def figures(verification: Verification, samples: list[Sample] | None = None) -> Verified:
    found = verification.figures(samples or [])
    assert isinstance(found, Verified)
    return found


@pytest.fixture
def sample() -> Iterator[Sample]:
    made = Sample.create(24, [TensorSpec("y", "float32", (1,))])
    yield made
    made.close()


def test_without_the_setting_there_is_nothing() -> None:
    heard = Heard()
    verification = Verification(0, heard)
    verification.begin(ENGINE, "/reference")
    assert verification.members == []
    assert verification.figures([]) is msgspec.UNSET


def test_figures_leave_out_empty_frames() -> None:
    verification = Verification(5, Heard())
    assert figures(verification).last_100 is None
    for note in (checked(100.0, empty=True), checked(80.0, shift=-0.2), checked(100.0, shift=None)):
        verification.checked(note)
    found = figures(verification)
    assert (found.every, found.frames, found.empty, found.bound, found.below) == (5, 3, 1, DEFAULT_BOUND, False)
    assert found.last_100 is not None
    assert found.last_100 == found.last_1000
    assert (found.last_100.frames, found.last_100.mean, found.last_100.worst) == (2, 90.0, 80.0)
    assert found.last_100.score_shift == -0.2
    assert found.since is not None
    assert abs(found.since - time.time()) < 60


@pytest.mark.parametrize(("bound", "events"), [(None, 1), (90.0, 1), (79.0, 0)])
def test_the_engines_own_bound_decides(bound: float | None, events: int) -> None:
    heard = Heard()
    verification = Verification(5, heard)
    verification.begin(msgspec.structs.replace(ENGINE, agreement_bound=bound), "/reference")
    for _ in range(200):
        verification.checked(checked(80.0))
    assert len(heard) == events
    if events:
        kind, severity, data = heard[0]
        assert (kind, severity) == ("accuracy", "warning")
        assert data == {"mean": 80.0, "worst": 80.0, "bound": bound or DEFAULT_BOUND, "frames": 50}
    assert figures(verification).below is bool(events)


def test_a_process_that_keeps_dying_is_told_of_once() -> None:
    heard = Heard()
    verification = Verification(5, heard)
    verification.member.error = InternalError("no luck")
    for _ in range(8):
        verification.member.start_at = None
        verification.died("was killed by signal 9")
        assert verification.member.start_at is not None
    assert [kind for kind, _, _ in heard] == ["process-replaced"]
    verification.checked(checked(100.0))
    verification.died("was killed by signal 9")
    assert len(heard) == 2


def test_a_reference_that_cannot_be_loaded_ends_it() -> None:
    heard = Heard()
    verification = Verification(5, heard)
    verification.member.error = ModelError("not taken", where="graph.onnx")
    verification.died("ended with status 0")
    assert verification.member.start_at is None
    assert [(kind, severity) for kind, severity, _ in heard] == [("verify-off", "warning")]


def test_a_process_with_work_that_does_nothing_is_killed(sample: Sample) -> None:
    verification = Verification(5, Heard(), quiet_s=0.2)
    handle, channel = ProcessLauncher().start("verify", "model")
    verification.member.running = handle, channel
    try:
        # It waits for its plan. Without work that is all right.
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            verification.watch([sample])
            time.sleep(0.02)
        assert handle.wait(0.0) is None
        assert sample.claim()
        sample.seal(0)
        sample.hand_over()

        def gone() -> bool:
            verification.watch([sample])
            return handle.wait(0.0) is not None

        wait_until(gone, 10, "end of a process that does nothing")
        assert handle.wait(0.0) == -9
    finally:
        handle.kill()
        handle.wait(5)
        channel.close()


def test_it_steps_back() -> None:
    code = "import os; from edged.runtime.verify_main import step_back as s; s(); print(os.sched_getscheduler(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.SCHED_IDLE


def test_a_thread_among_others_does_not() -> None:
    found: list[Any] = []

    def serve() -> None:
        step_back()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert found == [os.sched_getscheduler(0)]


def test_where_idle_is_refused_it_is_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "setpriority", lambda *given: asked.append(given))
    step_back()
    assert asked == [(os.PRIO_PROCESS, 0, 19)]
