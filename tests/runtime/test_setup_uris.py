# SPDX-License-Identifier: Apache-2.0
"""A source's URI that is wrong is named with the place where it was given, as every other setting is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edged.config import load
from edged.errors import SettingsError
from edged.runtime.setup import resolve

SPEC = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.toml"


def said_of(folder: Path, uri: str) -> str:
    config = folder / "edged.toml"
    config.write_text(
        f"[model]\nspec = {json.dumps(str(SPEC))}\n[daemon]\nstate_dir = 'state'\n"
        f"[[sources]]\nname = 'a'\nuri = 'synthetic://shapes'\n[[sources]]\nname = 'b'\nuri = {json.dumps(uri)}\n"
    )
    with pytest.raises(SettingsError) as caught:
        resolve(load(config, [], {}).settings)
    return str(caught.value)


def test_the_line_stands_before_what_is_wrong(tmp_path: Path) -> None:
    place = f"{tmp_path}/edged.toml:10: "
    assert said_of(tmp_path, "/srv/clip.mp4").startswith(
        f"{place}source b: /srv/clip.mp4: a source URI starts with a scheme; write file:///srv/clip.mp4"
    )
    encode = "source b: uri: an rtsp URL with an @ or a # where none may stand; percent-encode"
    assert said_of(tmp_path, "rtsp://u:p@ss/word@host/x").startswith(place + encode)
    assert said_of(tmp_path, "") == f"{place}sources[1].uri: expected text that is not empty, found an empty text"


def test_a_flag_is_named_too(tmp_path: Path) -> None:
    flags = [
        f"--model.spec={SPEC}",
        f"--daemon.state_dir={tmp_path}",
        "--sources=" + json.dumps([{"name": "a", "uri": "csi://x"}]),
    ]
    with pytest.raises(SettingsError, match=r"^--sources: source a: csi://x: not a sensor number"):
        resolve(load(None, flags, {}).settings)
