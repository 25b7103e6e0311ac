# SPDX-License-Identifier: Apache-2.0
"""Loading settings that are right: precedence, origins, defaults, paths, the shipped files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edged.config import Loaded, Settings, load
from edged.config_sources import variable
from edged.errors import ConfigError, SettingsError
from edged.fields import leaves
from edged.toml_file import read_toml

REPO = Path(__file__).resolve().parent.parent
SOURCES = '[[sources]]\nname = "a"\nuri = "rtsp://user:hunter2@host/stream"\n'
MINIMAL = SOURCES + '[model]\nspec = "m.toml"\n'
SECRET = "hunter2"


def loaded(
    folder: Path, text: str = MINIMAL, flags: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Loaded:
    path = folder / "edged.toml"
    path.write_text(text)
    return load(path, flags, environ or {})


def value_of(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    assert settings.sources[0].model_dump(exclude={"uri"}) == {
        "name": "a",
        "mode": None,
        "fps": None,
        "loop": False,
        "max_age_ms": 500.0,
        "stall_s": None,
        "priority": 0,
        "decode": "auto",
        "rotate": 0,
        "crop": None,
        "mask": (),
    }
    assert settings.engine.model_dump() == {
        "backend": "auto",
        "precision": "auto",
        "device": 0,
        "max_batch": None,
        "max_delay_ms": None,
        "slots": 2,
        "contexts": 1,
        "io": "auto",
        "threads": 0,
        "build": "never",
    }
    assert settings.build.model_dump() == {
        "profiles": ((1, 4, 8),),
        "workspace_mb": 1024,
        "optimization_level": 3,
        "aux_streams": None,
        "calibrator": "search",
        "search": True,
        "bound": 1.0,
        "keep_float": (),
        "plugins": (),
    }
    assert settings.publish.model_dump() == {
        "bind": ("ipc:///run/edged/predictions.sock",),
        "wait_for_subscribers": 0,
        "insecure": False,
        "curve": None,
    }
    assert settings.monitor.model_dump() == {"interval_s": 1.0, "governor": "off", "verify_every": 0}
    assert settings.http.bind == "127.0.0.1:9464"
    assert (settings.daemon.isolation, settings.daemon.log_level) == ("process", "info")
    assert settings.daemon.name


# Three different valid values of each key, as Python values: for the file, the environment and the command line.
SAMPLES: dict[str, tuple[Any, Any, Any]] = {
    "daemon.name": ("a", "b", "c"),
    "daemon.log_level": ("debug", "warning", "error"),
    "engine.device": (1, 2, 3),
    "engine.max_batch": (1, 2, 3),
    "engine.max_delay_ms": (1, 2.5, 3.0),
    "engine.backend": ("auto", "tensorrt", "onnxruntime"),
    "build.bound": (0.5, 2, 3.5),
    "build.search": (False, True, False),
    "build.profiles": ([[1, 1, 1]], [[1, 2, 3]], [[1, 1, 2], [2, 2, 2]]),
    "build.keep_float": (["a*"], [], ["b", "c"]),
    "publish.bind": (["ipc:///a"], ["ipc:///b"], ["ipc:///c", "tcp://127.0.0.1:1"]),
    "publish.insecure": (True, False, True),
    "publish.wait_for_subscribers": (1, 2, 3),
    "http.bind": ("127.0.0.1:1", "", "[::1]:3"),
}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(sorted(SAMPLES)), st.sets(st.sampled_from("feC"), min_size=1), max_size=8))
def test_command_line_over_environment_over_file_over_default(
    tmp_path_factory: pytest.TempPathFactory, where: dict[str, set[str]]
) -> None:
    tables: dict[str, list[str]] = {}
    environ: dict[str, str] = {}
    flags: list[str] = []
    for key, places in where.items():
        _, in_environ, in_flags = SAMPLES[key]
        section = key.rpartition(".")[0]
        if "f" in places:
            tables.setdefault(section, []).append(key)
        if "e" in places:
            environ[variable(key)] = as_text(in_environ)
        if "C" in places:
            flags += [f"--{key}={as_text(in_flags)}"] if len(flags) % 3 else [f"--{key}", as_text(in_flags)]
    lines = MINIMAL.split("\n")
    line_of: dict[str, int] = {}
    for section, keys in tables.items():
        lines.append(f"[{section}]")
        for key in keys:
            lines.append(f"{key.rpartition('.')[2]} = {json.dumps(SAMPLES[key][0])}")
            line_of[key] = len(lines)
    result = loaded(tmp_path_factory.mktemp("precedence"), "\n".join(lines), flags, environ)
    for key, places in where.items():
        rank = 2 if "C" in places else 1 if "e" in places else 0
        got = json.loads(json.dumps(value_of(result.settings, key)))
        assert got == SAMPLES[key][rank]
        assert result.origins[key] == (f"edged.toml:{line_of.get(key)}", variable(key), f"--{key}")[rank]
    untouched = set(leaves(Settings)) - set(where) - {"sources", "model.spec"}
    assert {result.origins[key] for key in untouched if key in result.origins} <= {"default"}


def test_every_value_has_an_origin(tmp_path: Path) -> None:
    result = loaded(tmp_path, MINIMAL, ["--engine.device=1"], {"EDGED_HTTP__BIND": "", "PATH": "/bin"})
    assert result.origins["sources[0].name"] == "edged.toml:2"
    assert result.origins["sources[0].fps"] == "default"
    assert result.origins["model.spec"] == "edged.toml:5"
    assert result.origins["http.bind"] == "EDGED_HTTP__BIND"
    assert result.origins["engine.device"] == "--engine.device"
    expected = set(leaves(Settings)) - {"sources", "publish.curve.secret_key_file", "publish.curve.authorized_keys_dir"}
    assert expected <= set(result.origins)


@pytest.mark.parametrize("as_flag", [True, False])
def test_a_list_replaces_the_whole_list(tmp_path: Path, as_flag: bool) -> None:
    text = json.dumps([{"name": "b", "uri": "synthetic://shapes", "fps": 5}])
    flags, environ = (["--sources", text], {}) if as_flag else ([], {"EDGED_SOURCES": text})
    result = loaded(tmp_path, MINIMAL, flags, environ)
    assert [(source.name, source.fps) for source in result.settings.sources] == [("b", 5.0)]
    assert result.origins["sources[0].uri"] == ("--sources" if as_flag else "EDGED_SOURCES")


def test_nothing_but_environment_and_flags() -> None:
    environ = {"EDGED_SOURCES": '[{"name": "a", "uri": "synthetic://shapes"}]'}
    settings = load(None, ["--model.spec", "m.toml"], environ).settings
    assert settings.model.spec == Path.cwd() / "m.toml"


def test_relative_paths_start_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = (
        MINIMAL + '[build]\nplugins = ["p.so", "/q.so"]\n[daemon]\nstate_dir = "s"\n'
        '[publish.curve]\nsecret_key_file = "k"\nauthorized_keys_dir = "d"\n'
    )
    environ = {"EDGED_PUBLISH__CURVE__AUTHORIZED_KEYS_DIR": "e"}
    settings = loaded(tmp_path, text, ["--daemon.state_dir=t"], environ).settings
    assert settings.model.spec == tmp_path / "m.toml"
    assert settings.build.plugins == (tmp_path / "p.so", Path("/q.so"))
    assert settings.daemon.state_dir == elsewhere / "t"
    assert settings.publish.curve is not None
    assert settings.publish.curve.secret_key_file == tmp_path / "k"
    assert settings.publish.curve.authorized_keys_dir == elsewhere / "e"


def test_a_working_folder_that_was_removed_matters_only_to_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert loaded(tmp_path, flags=["--daemon.state_dir=/state"]).settings.model.spec == tmp_path / "m.toml"
    with pytest.raises(SettingsError, match=r"m2\.toml is a relative path, and the working folder does not exist"):
        loaded(tmp_path, flags=["--model.spec=m2.toml"])


def test_addresses_are_taken_literally(tmp_path: Path) -> None:
    text = MINIMAL.replace("rtsp://user:hunter2@host/stream", "file://clip.mp4")
    assert loaded(tmp_path, text).settings.sources[0].uri.get_secret_value() == "file://clip.mp4"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/edged:/other", "XDG_STATE_HOME": "/x"}, "/var/lib/edged"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/edged"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/edged"),
        ({"HOME": "/h"}, "/h/.local/state/edged"),
    ],
)
def test_default_state_dir(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    result = loaded(tmp_path, environ=environ)
    assert result.settings.daemon.state_dir == Path(expected)
    assert result.origins["daemon.state_dir"] == "default"


def test_printing_settings_shows_no_password(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    for text in (repr(settings), str(settings), json.dumps(settings.redacted()), settings.model_dump_json()):
        assert SECRET not in text
    assert settings.redacted(str.upper)["sources"][0]["uri"] == "RTSP://USER:HUNTER2@HOST/STREAM"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.engine.device = 3


@pytest.mark.parametrize("name", ["edged.toml", "demo.toml", "jetson-orin.toml", "dgpu.toml"])
def test_shipped_configurations_load(name: str) -> None:
    path = REPO / "configs" / name
    load(path, [], {})
    schema = json.loads((REPO / "configs" / "schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(read_toml(path, ConfigError, kind="", remedy="").data)


def test_the_commented_file_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = (REPO / "configs/edged.toml").read_text(encoding="utf-8")
    everything = re.sub(r"^#(?=\w+ = |\[)", "", text, flags=re.MULTILINE)
    shown = loaded(tmp_path, everything)
    plain = loaded(tmp_path, text).settings
    assert [key for key, origin in shown.origins.items() if origin == "default"] == []
    decided_elsewhere = {"daemon.name", "daemon.state_dir", "engine.max_batch", "engine.max_delay_ms"}
    decided_elsewhere.add("build.aux_streams")
    for key in leaves(Settings):
        if key not in decided_elsewhere and not key.startswith(("sources", "publish.curve")):
            assert value_of(shown.settings, key) == value_of(plain, key), key


def test_schema_and_manual_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_config_schema", REPO / "tools/make_config_schema.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    manual = tool.MANUAL.read_text(encoding="utf-8")
    assert tool.SCHEMA.read_text(encoding="utf-8") == tool.schema_text(), "run python tools/make_config_schema.py"
    assert manual == tool.manual_text(manual), "run python tools/make_config_schema.py"


def test_the_manual_has_every_key() -> None:
    manual = (REPO / "docs/configuration.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w\[\]]+\.[\w.]+)` \|", manual, flags=re.MULTILINE))
    keys = set(leaves(Settings)) - {"sources"}
    keys |= {f"sources[].{name}" for name in leaves(type(load(None, FLAGS, {}).settings.sources[0]))}
    assert rows == keys


FLAGS = ["--model.spec=m", '--sources=[{"name": "a", "uri": "synthetic://shapes"}]']


def test_loading_is_quick_and_small() -> None:
    """The supervisor pays for this at every start; the bounds are about three times what was measured.

    CPU time, since others may have the cores meanwhile.
    """
    code = (
        "import sys, time; begin = time.process_time()\n"
        "from edged.config import load\nfrom pathlib import Path\n"
        "load(Path(sys.argv[1]), [], {})\n"
        "pss = next(int(l.split()[1]) for l in open('/proc/self/smaps_rollup') if l.startswith('Pss:'))\n"
        "print(time.process_time() - begin, pss, 'pydantic_settings' in sys.modules, 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(REPO / "configs/edged.toml")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ))
    seconds, kib, *imported = run.stdout.split()
    assert float(seconds) < 0.6
    assert int(kib) < 40_000
    assert imported == ["False", "False"]
