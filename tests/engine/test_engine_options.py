# SPDX-License-Identifier: Apache-2.0
"""The command line of the builder: what becomes of flags, settings and environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.engine.options import parse, request_for
from edged.engine.protocol import BuildRequest
from edged.errors import EdgedError, ModelError, SettingsError, UsageError

HOME = {"HOME": "/home/me"}
CONFIG = """\
sources = [{name = "a", uri = "synthetic://shapes"}]
[daemon]
state_dir = "state"
[model]
spec = "other.toml"
[engine]
precision = "fp16"
device = 1
slots = 3
max_batch = 16
[build]
workspace_mb = 256
optimization_level = 2
plugins = ["ops.so"]
"""


def request(*arguments: str, environ: dict[str, str] | None = None) -> BuildRequest:
    return request_for(parse(arguments), environ or HOME)


def test_defaults() -> None:
    found = request("models/a.toml")
    state = Path("/home/me/.local/state/edged")
    assert found == BuildRequest(
        spec=str(Path.cwd() / "models/a.toml"), state_dir=str(state), timing_cache=str(state / "timing.cache")
    )


def test_every_flag(tmp_path: Path) -> None:
    text = (
        "m.toml --precision tf32 --backend tensorrt --state-dir S --force --plugin a.so --plugin /b.so --profile 1,2,4 "
        "--profile 5,16,32 --workspace-mb 64 --optimization-level 0 --aux-streams 0 --timing-cache T"
    )
    found = request(*text.split())
    here = Path.cwd()
    assert found == BuildRequest(
        spec=str(here / "m.toml"),
        state_dir=str(here / "S"),
        timing_cache=str(here / "T"),
        backend="tensorrt",
        precision="tf32",
        force=True,
        batches=((1, 2, 4), (5, 16, 32)),
        workspace_mb=64,
        optimization_level=0,
        aux_streams=0,
        plugins=(str(here / "a.so"), "/b.so"),
    )


def test_settings_are_the_defaults_of_the_flags(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text(CONFIG)
    found = request("m.toml", "--config", str(config))
    assert found.state_dir == str(tmp_path / "state")
    assert found.timing_cache == str(tmp_path / "state" / "timing.cache")
    assert (found.precision, found.device, found.slots, found.workspace_mb) == ("fp16", 1, 3, 256)
    assert (found.optimization_level, found.plugins) == (2, (str(tmp_path / "ops.so"),))
    assert (found.batches, found.max_batch) == (None, 16)
    over = request(
        "m.toml", "--config", str(config), "--precision", "fp32", "--optimization-level", "0", "--max-batch", "auto"
    )
    assert (over.precision, over.optimization_level, over.max_batch) == ("fp32", 0, "auto")
    config.write_text(CONFIG + "profiles = [[1, 2, 4]]\n")
    assert request("m.toml", "--config", str(config)).batches == ((1, 2, 4),)
    assert request("m.toml", "--config", str(config)).max_batch is None


def test_contexts_side_by_side_have_no_streams_of_their_own(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text(CONFIG.replace("max_batch = 16\n", "max_batch = 16\ncontexts = 2\n"))
    assert request("m.toml", "--config", str(config)).aux_streams == 0
    assert request("m.toml", "--config", str(config), "--aux-streams", "2").aux_streams == 2
    config.write_text(CONFIG + "aux_streams = 1\n")
    assert request("m.toml", "--config", str(config)).aux_streams == 1
    assert request("m.toml", "--config", str(config), "--aux-streams", "0").aux_streams == 0


def test_the_environment_counts_too() -> None:
    environ = {"EDGED_DAEMON__STATE_DIR": "/s", "EDGED_BUILD__WORKSPACE_MB": "32", **HOME}
    found = request("m.toml", environ=environ)
    assert (found.state_dir, found.workspace_mb) == ("/s", 32)
    assert request("m.toml", "--state-dir", "/t", environ=environ).state_dir == "/t"
    with pytest.raises(SettingsError, match="EDGED_BUILD__WORKSPACE"):
        request("m.toml", environ={"EDGED_BUILD__WORKSPACE": "32"})


def test_an_onnx_file_needs_its_spec_beside_it(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    with pytest.raises(ModelError, match=r"does not say what its input and outputs mean; write .*net\.toml with"):
        request(str(model))
    (tmp_path / "net.toml").touch()
    assert request(str(model)).spec == str(tmp_path / "net.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "required"),
        ("m.toml n.toml", "what is n.toml?"),
        ("m.toml --presicion fp16", "did you mean --precision?"),
        ("m.toml --precision int4", "invalid choice"),
        ("m.toml --backend cuda", "invalid choice"),
        ("m.toml --profile 1,2", "expected MIN,OPT,MAX"),
        ("m.toml --profile 4,2,8", "MIN <= OPT <= MAX"),
        ("m.toml --profile 1,2,x", "expected a whole number"),
        ("m.toml --max-batch 0", "from 1 to 1024"),
        ("m.toml --max-batch most", "from 1 to 1024"),
        ("m.toml --profile 1,2,4 --max-batch 8", "give one of them"),
        ("m.toml --workspace-mb 1", "from 16"),
        ("m.toml --optimization-level 6", "from 0 to 5"),
        ("m.toml --calibrat images", "did you mean --calibrate?"),
        ("explain", "required"),
        ("explain m.toml --force", "unknown flag --force"),
    ],
)
def test_wrong_flags_are_64(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        request(*text.split())
    assert words in str(caught.value)
    assert caught.value.exit_code == 64


def test_help_and_version() -> None:
    assert "--timing-cache FILE" in parse(["--help"]).text
    assert "--force" not in parse(["explain", "-h"]).text
    assert parse(["--version"]).text.startswith("edged-build-engine ")


def test_a_broken_settings_file_is_78(tmp_path: Path) -> None:
    with pytest.raises(EdgedError) as caught:
        request("m.toml", "--config", str(tmp_path / "none.toml"))
    assert caught.value.exit_code == 78
