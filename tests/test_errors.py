# SPDX-License-Identifier: Apache-2.0
"""Errors: the exit code of each, one line whatever they hold, and the way across a process boundary."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged import errors
from edged.errors import BY_NAME, EdgedError

EXIT_CODES = {
    "EdgedError": 70,
    "UsageError": 64,
    "AccuracyRefusedError": 65,
    "DeviceUnavailableError": 69,
    "InternalError": 70,
    "SharedMemoryError": 70,
    "OutputError": 74,
    "RestartWantedError": 75,
    "EndpointInUseError": 75,
    "ConfigError": 78,
    "SettingsError": 78,
    "ModelError": 78,
    "DecoderError": 78,
    "EngineError": 78,
    "StateDirError": 78,
    "SourceError": 78,
}
TEXTS = st.text(max_size=60)
KINDS = st.sampled_from(sorted(BY_NAME.values(), key=lambda kind: kind.__name__))


def family(kind: type[EdgedError]) -> set[type[EdgedError]]:
    return {kind}.union(*(family(child) for child in kind.__subclasses__() if child.__module__ == errors.__name__))


def test_every_error_has_the_exit_code_of_the_contract_and_is_known_by_name() -> None:
    assert {kind.__name__: kind.exit_code for kind in family(EdgedError)} == EXIT_CODES
    assert {name: kind.exit_code for name, kind in BY_NAME.items()} == EXIT_CODES
    assert all(name == kind.__name__ for name, kind in BY_NAME.items())


@pytest.mark.parametrize(
    ("where", "remedy", "text"),
    [
        ("", "", "it is broken"),
        ("a.toml:3", "", "a.toml:3: it is broken"),
        ("", "mend it", "it is broken; mend it"),
        ("a.toml:3", "mend it", "a.toml:3: it is broken; mend it"),
    ],
)
def test_the_line_says_where_what_and_what_to_do(where: str, remedy: str, text: str) -> None:
    assert str(EdgedError("it is broken", where=where, remedy=remedy)) == text


@settings(max_examples=200, deadline=None)
@given(KINDS, TEXTS, TEXTS, TEXTS)
def test_any_error_is_one_line_and_survives_pickling(
    kind: type[EdgedError], what: str, where: str, remedy: str
) -> None:
    error = kind(what, where=where, remedy=remedy)
    assert len(str(error).splitlines()) <= 1
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert (twin.what, twin.where, twin.remedy) == (what, where, remedy)
        assert str(twin) == str(error)
