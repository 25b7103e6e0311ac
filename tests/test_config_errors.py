# SPDX-License-Identifier: Apache-2.0
"""Settings that are wrong: the exact line the user sees, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config import load
from edged.config_sources import variable
from edged.errors import EdgedError, SettingsError, UsageError
from edged.fields import leaves
from edged.settings import Settings

HEAD = '[[sources]]\nname = "a"\nuri = "rtsp://user:hunter2@host/stream"\n[model]\nspec = "m.toml"\n'  # 5 lines
SECRET = "hunter2"
SOURCE_KEYS = "name, uri, mode, fps, loop, max_age_ms, stall_s, priority, decode, rotate, crop, mask"


def refusal(
    folder: Path, text: str | None = HEAD, flags: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> EdgedError:
    path = folder / "edged.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EdgedError) as caught:
        load(path, flags, environ or {})
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    assert message.isprintable()
    return caught.value


# Text of the file, and the message after the path.
IN_FILE = {
    "syntax": (
        HEAD + "[engine]\ndevice 1\n",
        ":7: not valid TOML: Expected '=' after a key in a key/value pair (column 8)",
    ),
    "key twice": (HEAD + 'spec = "n"\n', ":6: not valid TOML: Cannot overwrite a value (column 11)"),
    "unquoted address": ("[[sources]]\nuri = rtsp://u:hunter2@h\n", ":2: not valid TOML: Invalid value (column 7)"),
    "more contexts than slots": (
        HEAD + "[engine]\ncontexts = 3\n",
        ":7: engine.contexts: 3 contexts have no more than the work of 2 slot(s); raise engine.slots",
    ),
    "unknown section": (HEAD + "[egine]\n", ":6: unknown key egine; did you mean engine?"),
    "unknown key": (
        HEAD + "[engine]\n\nmax_bacth = 8\n",
        ":8: unknown key engine.max_bacth; did you mean engine.max_batch?",
    ),
    "unknown key of a source": (
        HEAD.replace("[model]", "fsp = 3\n[model]"),
        ":4: unknown key sources[0].fsp; did you mean sources[0].fps?",
    ),
    "unknown key that is like no other": (
        HEAD.replace("[model]", "frobnicate = 3\n[model]"),
        f":4: unknown key sources[0].frobnicate; known here: {SOURCE_KEYS}",
    ),
    "unknown key with a known word": (
        HEAD.replace("[model]", "max_fps = 3\n[model]"),
        ":4: unknown key sources[0].max_fps; did you mean sources[0].fps?",
    ),
    "a model spec": (
        'id = "a"\nonnx = "a.onnx"\ntask = "raw"\ndecoder = "raw"\n[input]\nsize = [32, 32]\n',
        ': this looks like a model spec, not like settings; settings name it in [model]: spec = "edged.toml" '
        "(docs/configuration.md)",
    ),
    "unknown key of a nested section": (
        HEAD + '[publish.curve]\nsecret_key_file = "k"\nauthorised_keys_dir = "d"\n',
        ":8: unknown key publish.curve.authorised_keys_dir; did you mean publish.curve.authorized_keys_dir?",
    ),
    "key of another section": (HEAD + "[model.x]\n", ":6: unknown key model.x; known here: spec"),
    "key outside its section": (
        "wait_for_subscribers = 1\n" + HEAD,
        ":1: unknown key wait_for_subscribers; did you mean publish.wait_for_subscribers?",
    ),
    "nothing like it": (
        HEAD.replace("[model]", "zzzz = 3\n[model]"),
        f":4: unknown key sources[0].zzzz; known here: {SOURCE_KEYS}",
    ),
    "text for a number": (
        HEAD + '[engine]\nmax_batch = "8"\n',
        ':7: engine.max_batch: expected a whole number, found the text "8"; remove the quotes',
    ),
    "text for a switch": (
        HEAD + '[publish]\ninsecure = "true"\n',
        ':7: publish.insecure: expected true or false, found the text "true"; remove the quotes',
    ),
    "number for a switch": (
        HEAD + "[publish]\ninsecure = 1\n",
        ":7: publish.insecure: expected true or false, found 1",
    ),
    "number for text": (HEAD + "[daemon]\nname = 7\n", ":7: daemon.name: expected text, found 7"),
    "fraction for a count": (HEAD + "[engine]\nslots = 2.5\n", ":7: engine.slots: expected a whole number, found 2.5"),
    "switch for a number": (HEAD + "[engine]\nslots = true\n", ":7: engine.slots: expected a whole number, found true"),
    "text for a list": (
        HEAD + '[publish]\nbind = "ipc:///a"\n',
        ':7: publish.bind: expected a list, found the text "ipc:///a"',
    ),
    "date": (
        HEAD + "[engine]\nslots = 2026-01-01\n",
        ":7: engine.slots: expected a whole number, found a date or time",
    ),
    "value for a section": (HEAD.replace("[[s", "engine = 3\n[[s"), ":1: engine: expected a table, found 3"),
    "one table for sources": (HEAD.replace("[[sources]]", "[sources]"), ":1: sources: expected a list, found a table"),
    "unknown choice": (
        HEAD + '[engine]\nbackend = "cuda"\n',
        ":7: engine.backend: expected 'auto', 'tensorrt' or 'onnxruntime', found the text \"cuda\"",
    ),
    "too small": (
        HEAD.replace("[model]", "fps = 0\n[model]"),
        ":4: sources[0].fps: expected a number above 0, found 0",
    ),
    "too large": (HEAD + "[engine]\nslots = 9\n", ":7: engine.slots: expected at most 8, found 9"),
    "not a number": (
        HEAD.replace("[model]", "max_age_ms = nan\n[model]"),
        ":4: sources[0].max_age_ms: expected a finite number, found nan",
    ),
    "name with capitals": (
        HEAD.replace('"a"', '"North"'),
        ':2: sources[0].name: expected text of the form ^[a-z0-9_-]+$, found the text "North"',
    ),
    "same name twice": (
        '[[sources]]\nname = "a"\nuri = "x"\n' + HEAD,
        ":5: sources[1].name: another source is already called a",
    ),
    "empty address": ('[[sources]]\nname = "a"\nuri = ""\n[model]\nspec = "m"\n', ":3: sources[0].uri: "),
    "empty path": (HEAD.replace('"m.toml"', '""'), ":5: model.spec: expected a path"),
    "source without address": (
        '[[sources]]\nname = "a"\n[model]\nspec = "m"\n',
        ":1: sources[0].uri is missing; add it under [sources[0]]",
    ),
    "no sources": ('[model]\nspec = "m"\n', ": there is no source; add [[sources]] with a name and a uri"),
    "empty list of sources": (
        'sources = []\n[model]\nspec = "m"\n',
        ":1: sources: expected a list of at least 1, found a list of 0",
    ),
    "no model": ('[[sources]]\nname = "a"\nuri = "x"\n', ': model.spec is missing; add [model] with spec = "PATH"'),
    "profile out of order": (
        HEAD + "[build]\nprofiles = [\n[1, 4, 8],\n[3, 2, 1]]\n",
        ":7: build.profiles[1]: a profile is [min, opt, max] with min <= opt <= max",
    ),
    "same endpoint twice": (
        HEAD + '[publish]\nbind = ["ipc:///a", "ipc:///a"]\n',
        ":7: publish.bind[1]: the same endpoint stands here twice",
    ),
    "half a curve": (
        HEAD + '[publish.curve]\nsecret_key_file = "k"\n',
        ":6: publish.curve.authorized_keys_dir is missing; add it under [publish.curve]",
    ),
    "port": (
        HEAD + '[http]\nbind = "127.0.0.1:99999"\n',
        ':7: http.bind: expected "address:port", for example "127.0.0.1:9464", or "" for off',
    ),
    "control characters": (
        HEAD + '[daemon]\nname = "a\\u001b[31m\\u0000"\n',
        ":7: daemon.name: expected text of the form ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$, "
        'found the text "a\\x1b[31m\\x00"',
    ),
    "address in the wrong place": (
        HEAD + '[daemon]\nname = "rtsp://user:hunter2@host"\n',
        ':7: daemon.name: expected text of the form ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$, found the text "…"',
    ),
    "several": (HEAD + "[engine]\na = 1\nb = 2\nslots = 99\n", ":7: unknown key engine.a; known here: backend, "),
}


@pytest.mark.parametrize("case", IN_FILE)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = IN_FILE[case]
    error = refusal(tmp_path, text)
    assert type(error) is SettingsError
    assert error.exit_code == 78
    assert str(error).startswith(f"{tmp_path / 'edged.toml'}{message}")


def test_more_problems_are_counted(tmp_path: Path) -> None:
    assert str(refusal(tmp_path, IN_FILE["several"][0])).endswith("(and 2 more)")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'edged.toml'}: settings file not found; give the right path with --config"
    assert str(refusal(tmp_path, None)) == message


IN_ENVIRONMENT = {
    "EDGED_TYPO": (
        "1",
        "EDGED_TYPO: unknown environment variable; variables are called EDGED_SECTION__KEY; unset this one",
    ),
    "EDGED_SOURCE": ("[]", "EDGED_SOURCE: unknown environment variable; did you mean EDGED_SOURCES?"),
    "EDGED_ENGINE__MAX_BACTH": (
        "1",
        "EDGED_ENGINE__MAX_BACTH: unknown environment variable; did you mean EDGED_ENGINE__MAX_BATCH?",
    ),
    "EDGED_ENGINE_DEVICE": (
        "1",
        "EDGED_ENGINE_DEVICE: unknown environment variable; did you mean EDGED_ENGINE__DEVICE?",
    ),
    "EDGED_ENGINE": ('{"device": 1}', "EDGED_ENGINE: unknown environment variable; did you mean "),
    "EDGED_SOURCES__0__NAME": ("a", "EDGED_SOURCES__0__NAME: unknown environment variable; "),
    "EDGED_ENGINE__DEVICE": ("zero", 'EDGED_ENGINE__DEVICE: expected a whole number, found the text "zero"'),
    "EDGED_ENGINE__MAX_BATCH": ("", "EDGED_ENGINE__MAX_BATCH: expected a whole number, found an empty text"),
    "EDGED_ENGINE__SLOTS": ("9", 'EDGED_ENGINE__SLOTS: expected at most 8, found the text "9"'),
    "EDGED_PUBLISH__INSECURE": ("maybe", 'EDGED_PUBLISH__INSECURE: expected true or false, found the text "maybe"'),
    "EDGED_PUBLISH__BIND": ("ipc:///a", "EDGED_PUBLISH__BIND: expected a JSON list; for example "),
    "EDGED_SOURCES": (
        '[{"name": "a", "uri": "rtsp://user:hunter2@host", "fsp": 1}]',
        "EDGED_SOURCES: unknown key sources[0].fsp; did you mean sources[0].fps?",
    ),
    "EDGED_PUBLISH__CURVE__SECRET_KEY_FILE": (
        "k",
        ": publish.curve.authorized_keys_dir is missing; add it under [publish.curve]",
    ),
}


@pytest.mark.parametrize("name", IN_ENVIRONMENT)
def test_a_wrong_variable_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = IN_ENVIRONMENT[name]
    error = refusal(tmp_path, environ={name: text})
    assert type(error) is SettingsError
    assert error.exit_code == 78
    assert str(error).removeprefix(str(tmp_path / "edged.toml")).startswith(message)


ON_COMMAND_LINE: dict[str, tuple[list[str], type[EdgedError], str]] = {
    "unknown flag": (
        ["--engine.devise", "1"],
        UsageError,
        "unknown flag --engine.devise; did you mean --engine.device?",
    ),
    "unknown section": (["--typo.x=rtsp://u:hunter2@h"], UsageError, "unknown flag --typo.x; its --help lists"),
    "one dash": (["-engine.device=1"], UsageError, "unknown flag -engine.device; did you mean --engine.device?"),
    "a section": (["--engine", "1"], UsageError, "unknown flag --engine; "),
    "no value": (["--engine.device"], UsageError, "flag --engine.device needs a value; write --engine.device=VALUE"),
    "flag for a value": (["--engine.device", "--http.bind="], UsageError, "flag --engine.device needs a value"),
    "no flag": (["rtsp://u:hunter2@h"], UsageError, "unexpected argument …; settings are given as --section.key VALUE"),
    "wrong type": (
        ["--engine.device", "x"],
        SettingsError,
        '--engine.device: expected a whole number, found the text "x"',
    ),
    "bounds": (["--engine.device=-1"], SettingsError, '--engine.device: expected at least 0, found the text "-1"'),
    "no JSON": (["--sources", "rtsp://u:hunter2@h"], SettingsError, "--sources: expected a JSON list; for example "),
    "in a list": (
        ["--build.profiles=[[1, 2]]"],
        SettingsError,
        "--build.profiles: build.profiles[0]: expected a longer list, found a list of 2",
    ),
    "in a source": (
        ["--sources", '[{"name": "A", "uri": "rtsp://u:hunter2@h"}]'],
        SettingsError,
        "--sources: sources[0].name: expected text of the form",
    ),
}


@pytest.mark.parametrize("case", ON_COMMAND_LINE)
def test_a_wrong_flag_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    flags, kind, message = ON_COMMAND_LINE[case]
    error = refusal(tmp_path, flags=flags)
    assert type(error) is kind
    assert error.exit_code == (64 if kind is UsageError else 78)
    assert str(error).startswith(message)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(leaves(Settings))),
    st.sampled_from(
        ["x", "", "[", "[[]]", "{}", "-1", "1e999", "nan", "\0", "null", '["a", 1]', "[" * 3000, '[{"a": 1}]']
    ),
    st.booleans(),
)
def test_no_text_whatever_brings_more_than_one_line(
    tmp_path_factory: pytest.TempPathFactory, key: str, text: str, as_flag: bool
) -> None:
    path = tmp_path_factory.mktemp("text") / "edged.toml"
    path.write_text(HEAD)
    message = ""
    try:
        load(path, [f"--{key}={text}"] if as_flag else [], {} if as_flag else {variable(key): text})
    except EdgedError as error:
        message = str(error)
    assert message.isprintable()
    assert SECRET not in message
