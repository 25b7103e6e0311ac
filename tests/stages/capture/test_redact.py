# SPDX-License-Identifier: Apache-2.0
"""Nothing secret survives redaction."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.capture.redact import redact

# Rarely anything but letters, so that specials get their chance; 4 letters at least, so that a password is not by
# chance a part of the text around it ("st" is in "rtsp://***@host/stream").
SPECIALS = "@:/#?%&= \"'\\!$^~*()[]{}<>,;|\t\n.+-_"
SECRET = st.text(st.sampled_from(SPECIALS) | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24).map(
    lambda text: f"{text[: len(text) // 2]}S3cr{text[len(text) // 2 :]}"
)
QUICK = settings(deadline=None, max_examples=300)


@QUICK
@given(user=st.text(max_size=12), password=SECRET, scheme=st.sampled_from(["rtsp", "RTSPS", "http", "x-y+z"]))
def test_url_password_never_survives(user: str, password: str, scheme: str) -> None:
    for text in (
        f"{scheme}://{user}:{password}@camera/stream",
        f"{scheme}://:{password}@camera:554/stream?channel=1",
        f"cannot open '{scheme}://{user}:{password}@camera/stream', giving up",
        f"gst:rtspsrc location={scheme}://{user}:{password}@camera/s latency=0 ! decodebin ! appsink",
    ):
        assert "S3cr" not in redact(text)


@QUICK
@given(
    password=SECRET, name=st.sampled_from(["password", "pwd", "token", "KEY", "secret", "auth", "api_key", "passwd"])
)
def test_query_password_never_survives(password: str, name: str) -> None:
    for text in (
        f"rtsp://camera/stream?channel=1&{name}={quote(password, safe='')}&x=1",
        f"rtsp://camera/{name}={quote(password)}",
        f"opening rtsp://camera/?{name}={quote(password, safe=':/@#')} failed",
    ):
        assert "S3cr" not in redact(text)
        assert "camera" in redact(text) or "@" in text or "%40" in text


@QUICK
@given(password=SECRET, name=st.sampled_from(["user-pw", "user-id", "proxy-pw", "password"]))
def test_pipeline_password_never_survives(password: str, name: str) -> None:
    double = password.replace("\\", "\\\\").replace('"', '\\"')
    single = password.replace("\\", "\\\\").replace("'", "\\'")
    for text in (
        f'gst:rtspsrc location=rtsp://h/s {name}="{double}" ! appsink',
        f"gst:rtspsrc {name}='{single}' location=rtsp://h/s ! appsink",
        f'gst:rtspsrc {name}=(string)"{double}" ! appsink',
        f'gst:rtspsrc "{name}={double}" ! appsink' if not password.startswith(("'", '"')) else "",
        f"gst:rtspsrc {name} = {quote(password)} ! appsink",
    ):
        assert "S3cr" not in redact(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://u:p@host:554/s", "rtsp://***@host:554/s"),
        ("rtsp://token@host/s", "rtsp://***@host/s"),
        ("rtsp://:p@host/s", "rtsp://***@host/s"),
        ("rtsp://a:b@h1/x and rtsp://c:d@h2/y", "rtsp://***@h1/x and rtsp://***@h2/y"),
        ("'rtsp://a:b@h1/x', 'http://h2/y'", "'rtsp://***@h1/x', 'http://h2/y'"),
        ("rtsp://u:half a rtsp://password@host/s", "rtsp://***@host/s"),
        ("admin:secret@camera/stream", "***@camera/stream"),
        ("rtsp://h/user=admin_password=tlJwpbo6_channel=1.sdp x", "rtsp://h/user=*** x"),
        ("rtsp://h/s?user=bob&channel=2&pw=x", "rtsp://h/s?user=***&channel=2&pw=***"),
        ("http://proxy/?src=rtsp%3A%2F%2Fu%3Ap%40cam%2Fs", "http://proxy/?src=***"),
        ("see rtsp%3A%2F%2Fu%3Ap%40cam%2Fs", "see rtsp%3A%2F%2F***%40cam%2Fs"),
        ("see rtsp%253A%252F%252Fu%253Ap%2540cam", "see rtsp%253A%252F%252F***%2540cam"),
        ("rtsp%3A%2F%2Fu%3Ap@cam/s", "rtsp%3A%2F%2F***@cam/s"),
        ("rtsp://tok/en@cam/s", "rtsp://***@cam/s"),
        ("rtsp://u:p%40cam/s", "rtsp://***%40cam/s"),
        ("rtsp://admin:secret/live", "rtsp://admin:***/live"),
        ("rtsp://h:554/s?sid=9f2&channel=1&subtype=0", "rtsp://h:554/s?sid=***&channel=1&subtype=0"),
        ("rtsp://h/s?9f2", "rtsp://h/s?***"),
        ("rtsp://h/s?a[pw]=x;hash=y&p=z", "rtsp://h/s?a[pw]=***;hash=***&p=***"),
        ("rtsp://u:p@[fe80::1%25eth0]:554/s", "rtsp://***@[fe80::1%25eth0]:554/s"),
        ("//u:p@cam/s", "***@cam/s"),
        ('{"password": "p q", "user": "u"}', '{"password": *** "user": ***'),
        ("X-Api-Key: abc\nCookie: sid=1", "X-Api-Key: ***\nCookie: ***"),
        ("Authorization: Basic dTpw\r\nCSeq: 2", "Authorization: ***\r\nCSeq: 2"),
        (
            "gst:rtspsrc location=rtsp://u:p@h/s user-id=bob ! appsink",
            "gst:rtspsrc location=rtsp://***@h/s user-id=*** ! appsink",
        ),
    ],
)
def test_hides(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://host/stream failed, write to bob@example.org",
        "file:///clips/a@b.mp4",
        "synthetic://shapes?fps=30&seed=0&size=640x480",
        "tcp://127.0.0.1:5555",
        "v1/predictions/north/",
        "source north: 3 frames, monkey=1, keyframe=2, at 12:30",
        "gst:videotestsrc pattern=ball ! videoconvert ! appsink drop=true",
        "rtsp://[::1]:8554/live?channel=1&subtype=0&tcp",
        "rtsp://camera.example:554, http://docs.example/page#x",
        "csi://0?size=1920x1080&exposure=auto",
        "192.0.2.7:554 refuses user or password (401): check path, user and password",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    ["-" * 100_000 + "=", "a." * 50_000 + "@", " rtsp://x:" * 10_000 + "@", 'key="' * 20_000, "[" * 100_000 + "@"],
)
@pytest.mark.timeout(10)
def test_long_texts_are_cheap(text: str) -> None:
    redact(text)
