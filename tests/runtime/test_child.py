# SPDX-License-Identifier: Apache-2.0
"""The top of a child process: what it reports, and that it never runs without its parent."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from edged.errors import ModelError
from edged.runtime import child
from edged.runtime.channel import Channel, ChannelClosedError, Note
from edged.runtime.control import Control

SECRET = "hunter2"


def serve(role: str, *notes: tuple[str, object]) -> list[Note]:
    """Run a child in this thread on notes that lie ready; returns what it said, up to the end of the channel."""
    mine, theirs = Channel.pair()
    for kind, body in notes:
        mine.send(kind, body)
    child.serve(role, "model", theirs)
    said: list[Note] = []
    try:
        while (note := mine.receive(1.0)) is not None:
            said.append(note)
    except ChannelClosedError:
        return said
    finally:
        mine.close()
    raise AssertionError("the child did not close its channel")


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A role whose ``serve`` each test defines."""
    module = types.ModuleType("a_role_for_tests")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(child._ROLES, "test", module.__name__)
    return module


def test_a_stop_is_no_error() -> None:
    assert [note.kind for note in serve("prepare", ("stop", None))] == ["hello"]


def test_a_mistake_of_the_user_is_reported_as_it_is() -> None:
    plan = {
        "spec": "/absent/model.toml",
        "state_dir": "/absent",
        "engine": {"backend": "auto", "precision": "auto", "device": 0, "max_batch": None},
        "threads": 1,
        "parallel": 1,
        "measure": False,
    }
    hello, report = serve("prepare", ("configure", plan))
    assert hello.kind == "hello"
    assert report.kind == "error"
    assert report.body["name"] == ModelError.__name__
    assert report.body["where"] == "/absent/model.toml"
    assert report.body["what"] == "model spec not found"


def test_a_bug_is_one_line_and_a_traceback_for_the_log_without_credentials(role: types.ModuleType) -> None:
    def broken(name: str, control: Control) -> None:
        raise RuntimeError(f"no answer\nfrom rtsp://user:{SECRET}@camera/stream")

    role.serve = broken  # type: ignore[attr-defined]
    trace, report = serve("test")
    assert trace.kind == "traceback"
    assert "RuntimeError" in trace.body
    assert report.body["name"] == "InternalError"
    assert report.body["where"] == "test model"
    assert report.body["what"].startswith("RuntimeError: no answer")
    assert SECRET not in trace.body + report.body["what"]


def test_an_error_text_of_any_length_is_reported(role: types.ModuleType) -> None:
    def broken(name: str, control: Control) -> None:
        raise RuntimeError("why: " + "\N{EURO SIGN}" * 1_000_000)

    role.serve = broken  # type: ignore[attr-defined]
    trace, report = serve("test")
    assert len(trace.body) <= 20_000
    assert report.body["what"].startswith("RuntimeError: why: ")


def test_a_plan_of_another_version_is_a_bug_not_a_hang() -> None:
    said = serve("prepare", ("configure", {"spec": 3}))
    assert [note.kind for note in said] == ["hello", "traceback", "error"]
    assert said[-1].body["name"] == "InternalError"


def test_a_process_whose_parent_is_gone_ends_at_once() -> None:
    command = [sys.executable, "-m", "edged.runtime.child", "prepare", "model", "0", "1"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=20, check=False).returncode == 0
