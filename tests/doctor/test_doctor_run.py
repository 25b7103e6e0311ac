# SPDX-License-Identifier: Apache-2.0
"""Running checks: deadlines, faults of a check, redaction, exit codes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.doctor.apart import ask
from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, UNAVAILABLE, Finding, Outcome, Result, counts, exit_code, ok, problem
from edged.doctor.machine import Machine
from edged.doctor.run import findings
from edged.doctor.situation import Situation


def look(outcome: Outcome) -> Finding:
    (found,) = findings([Check("one", "a thing", CONFIGURATION, lambda _: outcome)], Situation(Machine()))
    return found


def test_a_check_that_blocks_is_a_problem_and_the_next_one_runs() -> None:
    never = threading.Event()

    def block(_: Situation) -> Outcome:
        never.wait(30)
        return ok("too late")

    checks = [
        Check("blocked", "a dead disk", CONFIGURATION, block, 0.05),
        Check("next", "b", UNAVAILABLE, lambda _: ok("b")),
    ]
    begin = time.monotonic()
    blocked, following = findings(checks, Situation(Machine()))
    never.set()
    assert time.monotonic() - begin < 5
    assert (blocked.result, blocked.text) == ("problem", "no answer within 0.05 s")
    assert blocked.evidence
    assert blocked.remedy
    assert following.result == "ok"


def test_a_fault_of_a_check_is_a_finding() -> None:
    def fail(_: Situation) -> Outcome:
        raise ZeroDivisionError("rtsp://user:hunter2@camera")

    (found,) = findings([Check("wrong", "a", CONFIGURATION, fail)], Situation(Machine()))
    assert found.result == "problem"
    assert found.evidence == ("ZeroDivisionError: rtsp://***@camera",)
    assert "report" in found.remedy[0]


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=20))
def test_no_password_leaves_a_finding(password: str) -> None:
    secret = quote(password, safe="")
    text = f"rtsp://user:{secret}@camera:554/stream"
    shown = look(problem(text, [f"source north: {text}"], [f"ping {text}"]))
    assert f":{secret}@" not in repr(shown)


def found(result: Result, code: int) -> Finding:
    return Finding(name="n", looks_at="l", result=result, text="", evidence=(), remedy=(), exit_code=code, took_ms=0.0)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([("ok", 69), ("skipped", 78), ("warning", 78)], 0),
        ([("problem", 69), ("ok", 78)], 69),
        ([("problem", 78), ("problem", 69)], 78),
    ],
)
def test_the_exit_code_is_that_of_the_worst_problem(results: list[tuple[Result, int]], code: int) -> None:
    all_found = [found(result, number) for result, number in results]
    assert exit_code(all_found) == code
    assert sum(counts(all_found).values()) == len(results)


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text('print(\'{"version": "0"}\')\nraise ImportError("torn off")\n')
    environ = dict(Machine().environ)
    environ["PYTHONPATH"] = f"{tmp_path}:{environ.get('PYTHONPATH', '')}:{Path(__file__).resolve().parents[2]}"
    answer = ask("opencv", {}, environ, 30.0)
    assert answer.fate == "failed"
    assert answer.trouble() == "importing OpenCV: ImportError: torn off"
    assert "version" not in answer.facts
    assert answer.said == ('{"version": "0"}',)
