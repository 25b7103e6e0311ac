# SPDX-License-Identifier: Apache-2.0
"""Every check on machines where it has something to find and where it has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor import cases_cameras, cases_engine, cases_gpu, cases_libraries, cases_machine, cases_settings
from doctor.doctor_rig import BY_NAME, SECRET, Case, Rig

CASES = [
    case
    for module in (cases_machine, cases_gpu, cases_engine, cases_libraries, cases_settings, cases_cameras)
    for case in module.CASES
]


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


def test_a_camera_is_asked_once_and_told_the_password_once(rig: Rig) -> None:
    server = cases_cameras.watch(rig, "admin:other")
    assert rig.look("network-cameras").result == "problem"
    assert [asked.split()[0] for asked in server.heard] == ["DESCRIBE", "DESCRIBE"]
    assert sum("Authorization:" in asked for asked in server.heard) == 1


def test_what_is_seen_of_a_camera_stays_whole(rig: Rig) -> None:
    server = cases_cameras.watch(rig, path="elsewhere?channel=1")
    shown = f"127.0.0.1:{server.server_address[1]}"
    found = rig.look("network-cameras")
    assert found.evidence == (
        f"north: rtsp://***@{shown}/elsewhere?channel=1",
        f"{shown} has no stream at this path (404)",
    )


def test_a_password_with_a_slash_is_percent_encoding_s_business(rig: Rig) -> None:
    rig.settings(f"rtsp://user:p@ss/{SECRET}@host/x")
    found = rig.look("sources")
    assert found.evidence == ("source north: uri: an rtsp URL with an @ or a # where none may stand",)
    assert len(found.remedy) == 1
    assert "@ is %40" in found.remedy[0]
    assert "power" not in found.remedy[0]
