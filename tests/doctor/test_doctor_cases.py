# SPDX-License-Identifier: Apache-2.0
"""Every check on machines where it has something to find and where it has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor import cases_engine, cases_gpu, cases_libraries, cases_machine, cases_settings
from doctor.doctor_rig import BY_NAME, SECRET, Case, Rig

CASES = [*cases_machine.CASES, *cases_gpu.CASES, *cases_engine.CASES, *cases_libraries.CASES, *cases_settings.CASES]


@pytest.fixture
def rig(short_folder: Path) -> Iterator[Rig]:
    short_folder.chmod(0o755)
    made = Rig(short_folder)
    yield made
    made.stack.close()


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_finds_what_is_there(case: Case, rig: Rig) -> None:
    case.arrange(rig)
    found = rig.look(case.check)
    whole = f"{found.result}: {found.text}\n{found.evidence}\n{found.remedy}"
    assert found.result == case.result, whole
    assert case.text in found.text, whole
    assert SECRET not in whole
    if case.result in ("warning", "problem"):
        assert found.evidence, "seen nothing"
        assert found.remedy, "nothing to do"
        assert all(found.evidence), whole
        assert all(found.remedy), whole
        assert any(case.remedy in step for step in found.remedy), whole


def test_every_check_has_a_case_that_fails_and_one_that_does_not() -> None:
    failing = {case.check for case in CASES if case.result in ("warning", "problem")}
    fine = {case.check for case in CASES if case.result == "ok"}
    assert failing == fine == set(BY_NAME)
    assert len({case.id for case in CASES}) == len(CASES)
