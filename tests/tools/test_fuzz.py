# SPDX-License-Identifier: Apache-2.0
"""A few hundred broken inputs of each kind; ``python -m tools.fuzz`` runs them by the ten thousand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import EdgedError, SettingsError
from tools.fuzz.__main__ import SUBJECTS, main
from tools.fuzz.mutate import Mutator
from tools.fuzz.run import MOST_CPU_S, complaint, explore

CASES = {"configuration": 100, "spec": 250, "manifest": 120, "message": 400}


@pytest.mark.parametrize("name", SUBJECTS)
def test_broken_input_is_taken_or_refused_in_one_line(name: str) -> None:
    subject = SUBJECTS[name]()
    try:
        outcome = explore(subject, 7, range(CASES[name]))
    finally:
        subject.close()
    assert not outcome.failures, outcome.failures[0].what
    assert outcome.taken + outcome.refused == CASES[name]
    # Broken enough to be refused, and not so much that nothing gets beyond the parser.
    assert outcome.taken >= CASES[name] // 100
    assert outcome.refused >= (CASES[name] // 2 if name != "message" else 0)


def test_the_same_numbers_make_the_same_cases() -> None:
    def cases() -> list[bytes]:
        return [Mutator(random.Random(number), [b"a = 1\n[b]\nc = 'd'\n", b"[[e]]"]).case() for number in range(200)]

    assert cases() == cases()
    assert len(set(cases())) > 150


class Careless:
    """Does what none may do."""

    name = "careless"

    def __init__(self, does: Callable[[], None]) -> None:
        self._does = does

    def case(self, rng: random.Random) -> bytes:
        return rng.randbytes(3)

    def run(self, case: bytes) -> None:
        self._does()

    def close(self) -> None:
        return


def _raise(error: Exception) -> Callable[[], None]:
    def does() -> None:
        raise error

    return does


@pytest.mark.parametrize(
    ("does", "what"),
    [
        (_raise(KeyError("a")), "KeyError"),
        (_raise(SettingsError("wrong")), "names no place"),
        (_raise(SettingsError("the password is hunter2", where="a")), "repeats a password"),
    ],
)
def test_what_goes_wrong_is_seen_and_kept(does: Callable[[], None], what: str, tmp_path: Path) -> None:
    outcome = explore(Careless(does), 1, range(2), tmp_path)
    assert [failure.index for failure in outcome.failures] == [0, 1]
    assert what in outcome.failures[0].what
    assert sorted(entry.name for entry in tmp_path.iterdir())[:2] == ["careless-1-0", "careless-1-0.txt"]


def test_a_case_that_takes_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin() -> None:
        while True:
            pass

    monkeypatch.setattr("tools.fuzz.run.DEADLINE_S", 0.05)
    (failure,) = explore(Careless(spin), 1, range(1)).failures
    assert failure.what.startswith("not done after 0.05 s")
    assert MOST_CPU_S > 0


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    error = EdgedError("a\0b\x1b[2Jc\ud800\n\td", where="e\u202ef", remedy="g" * 100_000 + "mend it")
    assert complaint(error) == ""
    assert str(error).startswith("e\\u202ef: a\\x00b\\x1b[2Jc\\ud800 d; ggg")
    assert str(error).endswith("mend it")


def test_a_crash_costs_one_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The process of the cases finds another Python module in its way, which ends it as a crash does.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '--inside' in sys.argv:\n"
        "    import tools.fuzz.written as written\n"
        "    written.Spec.run = lambda self, case: os.kill(os.getpid(), 11)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")
    assert main(["--only", "spec", "--cases", "2", "--keep", str(tmp_path / "kept")]) == 1
    said = capsys.readouterr().out
    assert "2 failed" in said
    assert (tmp_path / "kept" / "spec-1-1").is_file()
