# SPDX-License-Identifier: Apache-2.0
"""No credential of any URL of a camera comes out anywhere: errors, what is shown, settings, checks, FFmpeg's stderr."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.check import run_check
from edged.config import load
from edged.errors import ConfigError, EdgedError, SettingsError
from edged.runtime.setup import resolve
from edged.stages.capture.readers.base import ReadFailedError, quiet_environment
from edged.stages.capture.readers.pipelines import Pipeline, rtsp_source
from edged.stages.capture.redact import redact
from edged.stages.capture.uri import SourceUri, parse

SPEC = Path(__file__).resolve().parents[3] / "edged" / "assets" / "shapes.toml"
MARK = "S3cr"
QUICK = settings(deadline=None, max_examples=250)

_text = st.text(
    st.sampled_from("@:/#?%&= \"'\\!$^~*()[]{}<>,;|+-_.") | st.characters(exclude_categories=["Cs", "Cc"]), max_size=10
)
secrets = st.builds(lambda head, tail: f"{head}{MARK}{tail}", _text, _text)
encodings = st.sampled_from(
    [
        lambda text: text,
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe=":/@"),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()) + MARK,
    ]
)
hosts = st.sampled_from(["cam", "192.0.2.7", "192.0.2.7:8554", "[::1]:554", "[fe80::1%25eth0]", "bücher.example", ""])
names = st.sampled_from(["user", "password", "pwd", "token", "sid", "p", "auth", "X-Key", "user[pw]", "pass%77ord"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    """A camera's URL with a secret in it somewhere; by no means always one that is right."""
    encode = draw(encodings)
    secret = encode(draw(secrets))
    other = encode(draw(_text))
    scheme = draw(st.sampled_from(["rtsp", "RTSP", "rtsps", "rtspu", "http"]))
    # In the bare ones only what may stand there: nobody can tell a path from a password with a slash.
    plain = quote(secret, safe="%@")
    userinfo, query = draw(
        st.sampled_from(
            [
                (f"{other}:{secret}@", ""),
                (f":{secret}@", "?channel=1"),
                (f"{plain}@", ""),
                (f"{plain}:@", ""),
                (f"{plain}:{secret}@", ""),
                ("", f"?{draw(names)}={plain}&channel=1"),
                ("", f"?subtype=0&{draw(names)}={plain}"),
                ("admin:pw@", f"?{draw(names)}={plain};x=1"),
            ]
        )
    )
    return f"{scheme}://{userinfo}{draw(hosts)}/stream{query}"


@QUICK
@given(url=urls())
def test_nothing_that_is_made_of_a_url_tells_its_secret(url: str) -> None:
    texts = [redact(url), str(ReadFailedError(f"cannot open {url!r}, giving up")), repr(ReadFailedError(url))]
    for uri in (url, f"gst:rtspsrc location={url} ! appsink", url.partition("://")[2]):
        try:
            source = parse(uri)
        except SettingsError as error:
            texts += [str(error), repr(error)]
        else:
            texts += _all_that_shows(source)
    for text in texts:
        assert MARK not in text, text


def _all_that_shows(source: SourceUri) -> list[str]:
    shown = [source.shown, str(source), repr(source)]
    if source.kind == "rtsp":
        text = rtsp_source(source.target, "h264")
        shown += [repr(Pipeline("nvv4l2decoder", text, scaled=False)), redact(text), str(ReadFailedError(text))]
        # In the pipeline the address itself is without user and password.
        location = text[: text.find(" user-id=")] if " user-id=" in text else ""
        shown.append("" if "?" in source.target else location)
    return shown


@settings(deadline=None, max_examples=60)
@given(url=urls(), strange=st.booleans())
def test_edged_check_and_the_settings_tell_no_secret(
    tmp_path_factory: pytest.TempPathFactory, url: str, strange: bool
) -> None:
    folder = tmp_path_factory.mktemp("check")
    config = folder / "edged.toml"
    (folder / "file").touch()
    extra = f"passwrod = {json.dumps(url)}\n" if strange else ""
    config.write_text(
        f"[daemon]\nstate_dir = {json.dumps(str(folder / 'file' / 'no'))}\n"
        f"[[sources]]\nname = 'a'\nuri = {json.dumps(url)}\n{extra}[model]\nspec = {json.dumps(str(SPEC))}\n",
        encoding="utf-8",
    )
    lines: list[str] = []
    with pytest.raises(ConfigError) as caught:
        run_check(config, [], {}, as_json=False, show=lines.append)
    texts = [*lines, str(caught.value), repr(caught.value), caught.value.remedy]
    flags = ["--model.spec=m", "--sources=" + json.dumps([{"name": "a", "uri": url}])]
    loaded = load(None, flags, {})
    texts += [repr(loaded.settings), json.dumps(loaded.settings.redacted(redact)), loaded.settings.model_dump_json()]
    try:
        resolve(load(config, [], {}).settings)
    except EdgedError as error:
        texts.append(str(error))
    for text in texts:
        assert MARK not in text, text


OPEN = """
import json, os, sys
from edged.stages.capture.readers.base import Patience, ReadFailedError, notes_of, quiet_environment
os.environ.update(quiet_environment())
from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.gstreamer import GstreamerReader
from edged.stages.capture.uri import parse
for uri in json.load(sys.stdin):
    try:
        open_reader(parse(uri), live=True, patience=Patience(open=20.0, read=20.0)).close()
        print("opened")
    except Exception as error:
        print(type(error).__name__, error, repr(error))
print(open("/proc/self/cmdline").read(), open("/proc/self/environ").read())
"""


def test_neither_ffmpeg_nor_gstreamer_nor_opencv_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libraries write to stderr by themselves is no log line, and nobody would redact it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    uris = [
        f"rtsp://us3r:{MARK}@127.0.0.1:{port}/s?token={MARK}",
        f"rtsp://{MARK}@127.0.0.1:{port}/s",
        f"rtsp://us3r:12/{MARK}@127.0.0.1:{port}/s",
        f"rtsps://us3r:{MARK}@[::1]:{port}/s",
        f"gst:rtspsrc location=rtsp://us3r:{MARK}@127.0.0.1:{port}/s ! decodebin ! videoconvert ! appsink",
        f"gst:rtspsrc nonsense={MARK} location=rtsp://us3r:{MARK}@127.0.0.1 ! nothing ! appsink",
        f"file:///nowhere/rtsp://us3r:{MARK}@cam",
    ]
    done = subprocess.run(
        [sys.executable, "-c", OPEN], input=json.dumps(uris), capture_output=True, text=True, timeout=110, check=True
    )
    said = done.stdout + done.stderr
    assert said.count("ReadFailedError") >= len(uris)
    assert MARK not in said
    assert "us3r" not in said
    assert done.stderr == ""
    monkeypatch.setattr(os, "environ", {})
    assert quiet_environment(), "it is quiet because it was told to be"
