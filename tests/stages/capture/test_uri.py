# SPDX-License-Identifier: Apache-2.0
"""Source URIs: what is taken, what is refused, and that refusals tell no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import SettingsError, SourceError
from edged.stages.capture import synthetic_options, uri
from edged.stages.capture.redact import redact
from edged.stages.capture.synthetic_options import SyntheticOptions
from edged.stages.capture.uri import SourceUri, check_exists, parse


@pytest.mark.parametrize(
    ("text", "kind", "target", "live"),
    [
        ("file:///clip.mp4", "file", "/clip.mp4", False),
        ("file:///a b/%20c#1?x=@.mp4", "file", "/a b/%20c#1?x=@.mp4", False),
        ("FILE:///a", "file", "/a", False),
        ("dir:///photos", "dir", "/photos", False),
        ("dir:///写真　1", "dir", "/写真　1", False),
        ("rtsp://u:p@host:554/s", "rtsp", "rtsp://u:p@host:554/s", True),
        ("rtsps://[::1]/s", "rtsp", "rtsps://[::1]/s", True),
        ("v4l2:///dev/video0", "v4l2", "/dev/video0", True),
        ("csi://0", "csi", "0", True),
        ("gst:videotestsrc\n ! appsink ", "gst", "videotestsrc\n ! appsink", True),
        ("synthetic://shapes", "synthetic", "shapes", True),
    ],
)
def test_parse(text: str, kind: str, target: str, live: bool) -> None:
    source = parse(text)
    assert (source.kind, source.target, source.live_by_default) == (kind, target, live)


def test_relative_paths_start_at_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("file://clips/a.mp4", tmp_path).target == str(tmp_path / "clips/a.mp4")
    assert parse("dir://../x", tmp_path).target == f"{tmp_path}/../x"
    monkeypatch.chdir(tmp_path)
    assert parse("file://a.mp4").target == str(tmp_path / "a.mp4")
    assert parse("file:///a.mp4", Path("elsewhere")).target == "/a.mp4"


def test_synthetic_options() -> None:
    assert parse("synthetic://shapes").options == SyntheticOptions(30.0, 0, 640, 480, 0)
    assert parse("synthetic://shapes?").options == SyntheticOptions()
    options = parse("synthetic://shapes?size=320x240&fps=12.5&seed=7&frames=100").options
    assert options == SyntheticOptions(fps=12.5, seed=7, width=320, height=240, frames=100)
    assert parse("synthetic://shapes?cache=32").options == SyntheticOptions(cache=32)


def test_smallest_size_is_the_scene_s() -> None:
    from edged.stages.capture import shapes

    assert synthetic_options.MIN_SIDE == shapes.MIN_SIDE


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("", "scheme"),
        ("/clip.mp4", "file://"),
        ("clip.mp4", "known are"),
        ("http://host/s", "gst:souphttpsrc"),
        ("rtsp://u:p@ss/word@host/x", "percent-encode"),
        ("rtsp://u:1/2@host/x", "percent-encode"),
        ("rtsp://u:p?2@host/x", "percent-encode"),
        ("rtsp://u:p#2@host/x", "percent-encode"),
        ("rtsp://host/s#1", "percent-encode"),
        ("file:/clip.mp4", "file://"),
        ("file://", "path"),
        ("dir://", "path"),
        ("file:///a\0b", "UTF-8"),
        ("file:///a\udcff", "UTF-8"),
        ("rtsp://", "host"),
        ("rtsp://:554/s", "host"),
        ("rtsp://host:port/s", "port"),
        ("rtsp://[::1/s", "host"),
        ("rtsp://u:a b@host/s", "percent-encoded"),
        ("v4l2://0", "/dev/video0"),
        ("v4l2:///etc/passwd", "/dev/video0"),
        ("csi://", "csi://0"),
        ("csi://zero", "csi://0"),
        ("csi://²", "csi://0"),
        ("gst:", "pipeline"),
        ("gst:  ", "pipeline"),
        ("synthetic://", "shapes"),
        ("synthetic://circles", "shapes"),
        ("synthetic://shapes?colour=red", "'colour'"),
        ("synthetic://shapes?fps=0", "fps"),
        ("synthetic://shapes?fps=nan", "fps"),
        ("synthetic://shapes?fps=1e9", "fps"),
        ("synthetic://shapes?fps=", "fps"),
        ("synthetic://shapes?fps", "fps"),
        ("synthetic://shapes?fps=5&fps=6", "twice"),
        ("synthetic://shapes?seed=-1", "seed"),
        ("synthetic://shapes?seed=4294967296", "seed"),
        ("synthetic://shapes?seed=1.5", "seed"),
        ("synthetic://shapes?size=640", "size"),
        ("synthetic://shapes?size=640x", "size"),
        ("synthetic://shapes?size=16x480", "size"),
        ("synthetic://shapes?size=640x480x3", "size"),
        ("synthetic://shapes?size=99999x99999", "size"),
        ("synthetic://shapes?frames=-1", "frames"),
        ("synthetic://shapes?frames=ten", "frames"),
        ("synthetic://shapes?cache=-1", "cache"),
        ("synthetic://shapes?cache=600", "512 MiB"),
    ],
)
def test_refused(text: str, mentions: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert mentions in str(caught.value)
    assert caught.value.exit_code == 78


@settings(deadline=None, max_examples=300)
@given(
    scheme=st.sampled_from(
        [
            "rtsp://",
            "rtsps://",
            "htp://",
            "csi://",
            "synthetic://",
            "v4l2://",
            "rtsp:",
            "",
            "gst:rtspsrc location=rtsp://",
        ]
    ),
    head=st.text(max_size=6),
    tail=st.text(max_size=6),
)
def test_no_message_tells_a_password(scheme: str, head: str, tail: str) -> None:
    text = f"{scheme}admin:{head}S3cr{tail}@camera/stream"
    try:
        source = parse(text)
    except SettingsError as error:
        assert "S3cr" not in str(error) + repr(error)  # noqa: PT017
    else:
        assert "S3cr" not in source.shown + repr(source) + str(source)


_PIECE = st.text("abcdefgXYZ0123456789", min_size=3, max_size=9).map(lambda text: f"Q{text}")


@settings(deadline=None, max_examples=200)
@given(
    scheme=st.sampled_from(["rtsp", "rtsps", "RTSP"]),
    pieces=st.tuples(*[_PIECE] * 4),
    first=st.sampled_from("/?#"),
    second=st.sampled_from("@/?#:"),
)
def test_nothing_of_a_url_shows_whose_password_is_not_encoded(
    scheme: str, pieces: tuple[str, ...], first: str, second: str
) -> None:
    user, one, two, three = pieces
    text = f"{scheme}://{user}:{one}@{one}{first}{two}{second}{three}@camera7.example/stream7"
    with pytest.raises(SettingsError) as caught:
        parse(text)
    said = str(caught.value) + repr(caught.value)
    assert "percent-encode" in said
    for piece in (*pieces, "camera7", "stream7"):
        assert piece not in said
    assert not any(piece in redact(text) for piece in pieces)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/srv/clip.mp4", "file:///srv/clip.mp4"),
        ("../clip.mp4", "file://../clip.mp4"),
        ("/dev/video0", "v4l2:///dev/video0"),
        ("/usr", "dir:///usr"),
        ("0", "v4l2:///dev/video0"),
    ],
)
def test_a_path_without_a_scheme_is_shown_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"{text}: a source URI starts with a scheme; write {meant} (known are ")


@pytest.mark.parametrize("text", ["//admin:pw@cam/s", "admin:pw@cam/s", "/s?token=pw", "/pw%40cam/s", "pw", "/a&pw"])
def test_what_may_be_a_camera_without_its_scheme_is_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert "pw" not in str(caught.value)


@given(rest=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1))
def test_paths_are_literal(rest: str) -> None:
    if rest not in (".", ".."):
        assert os.path.basename(parse(f"file:///folder/{rest}").target) == rest


def _source(kind: str, path: Path) -> SourceUri:
    return parse(f"{kind}://{path}")


def test_existing_sources_pass(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"something")
    check_exists(_source("file", tmp_path / "clip.mp4"))
    (tmp_path / "photo.JPEG").touch()
    check_exists(_source("dir", tmp_path))
    check_exists(parse("rtsp://nowhere.invalid/s"))
    check_exists(parse("v4l2:///dev/video99"))


@pytest.mark.parametrize(
    ("kind", "name", "mentions"),
    [
        ("file", "missing.mp4", "no such file"),
        ("file", "empty.mp4", "0 bytes"),
        ("file", "folder", "dir://"),
        ("file", "pipe", "not a file"),
        ("file", "text.txt/clip.mp4", "not a directory"),
        ("dir", "missing", "no such file"),
        ("dir", "text.txt", "not a folder"),
        ("dir", "folder", "holds no image"),
    ],
)
def test_missing_sources(tmp_path: Path, kind: str, name: str, mentions: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder" / "inside.jpg").mkdir(parents=True)
    (tmp_path / "folder" / "readme.md").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError) as caught:
        check_exists(_source(kind, tmp_path / name))
    assert mentions in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("name", "written", "advice"),
    [
        ("my clip.mp4", "my%20clip.mp4", "the path is taken literally: write a space, not %20"),
        ("ü b.mp4", "%C3%BC%20b.mp4", "the path is taken literally: write file://FOLDER/ü b.mp4"),
        ("other.mp4", "my%20clip.mp4", "check the path of this source"),
    ],
)
def test_a_path_written_as_a_web_address(tmp_path: Path, name: str, written: str, advice: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        check_exists(_source("file", tmp_path / written))
    assert caught.value.remedy == advice.replace("FOLDER", str(tmp_path))


def test_a_folder_of_links_to_what_is_no_file_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/proc/self/mem")
    with pytest.raises(SourceError, match="holds no image"):
        check_exists(_source("dir", tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", ["file", "dir"])
def test_unreadable_sources(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "locked"
    if kind == "dir":
        path.mkdir()
    else:
        path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(SourceError):
        check_exists(_source(kind, path))
    path.chmod(0o700)


def test_parsing_is_cheap() -> None:
    code = f"import sys, {uri.__name__}; sys.exit(any(name in sys.modules for name in ('cv2', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
