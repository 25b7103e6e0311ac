# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import SettingsError
from edged.stages.publish.endpoint import Endpoint, check_endpoint, hold, is_loopback, parse_binds, parse_endpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ipc:///run/x.sock", Endpoint("ipc", "ipc:///run/x.sock", path=Path("/run/x.sock"))),
        ("ipc://sub/x.sock", Endpoint("ipc", "ipc:///base/sub/x.sock", path=Path("/base/sub/x.sock"))),
        ("tcp://127.0.0.1:5555", Endpoint("tcp", "tcp://127.0.0.1:5555", host="127.0.0.1", port=5555)),
        ("tcp://localhost:1", Endpoint("tcp", "tcp://127.0.0.1:1", host="127.0.0.1", port=1)),
        ("tcp://[::1]:65535", Endpoint("tcp", "tcp://[::1]:65535", host="::1", port=65535)),
        ("tcp://*:5555", Endpoint("tcp", "tcp://*:5555", host="*", port=5555)),
        ("tcp://eth0:5555", Endpoint("tcp", "tcp://eth0:5555", host="eth0", port=5555)),
    ],
)
def test_endpoints_are_read(text: str, expected: Endpoint) -> None:
    assert parse_endpoint(text, base=Path("/base")) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ipc",
        "ipc://",
        "ipc://@abstract",
        "ipc://*",
        "ipc:///run/folder/",
        "ipc:///run/new\nline",
        "ipc:///" + "x" * 107,
        "ipc:///" + "é" * 54,
        "inproc://x",
        "udp://127.0.0.1:5",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:*",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:+5",
        "tcp://::1:5555",
        "tcp://[::g]:5555",
        "tcp://[::1:5555",
        "tcp://user@host:5555",
        "127.0.0.1:5555",
    ],
)
def test_other_endpoints_are_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_endpoint(text)
    assert caught.value.exit_code == 78
    assert caught.value.where == "publish.bind"
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_longest_path_is_taken() -> None:
    text = "ipc:///" + "x" * 106
    assert parse_endpoint(text).text == text


@given(st.text(max_size=30), st.sampled_from(["", "ipc://", "tcp://", "tcp://127.0.0.1:", "tcp://["]))
@settings(deadline=None, max_examples=200)
def test_any_text_is_an_endpoint_or_a_settings_error(rest: str, scheme: str) -> None:
    try:
        endpoint = parse_endpoint(scheme + rest, base=Path("/base"))
    except SettingsError:
        return
    assert parse_endpoint(endpoint.text) == endpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ipc:///run/x.sock", True),
        ("tcp://127.0.0.1:5", True),
        ("tcp://127.9.9.9:5", True),
        ("tcp://localhost:5", True),
        ("tcp://[::1]:5", True),
        ("tcp://*:5", False),
        ("tcp://0.0.0.0:5", False),
        ("tcp://[::]:5", False),
        ("tcp://192.168.0.7:5", False),
        ("tcp://gate-7:5", False),
        ("tcp://lo:5", False),
    ],
)
def test_only_loopback_may_be_bound_unprotected(text: str, expected: bool) -> None:
    endpoint = parse_endpoint(text)
    assert is_loopback(endpoint) is expected
    if endpoint.transport == "ipc":
        return
    check_endpoint(endpoint, insecure=True)
    check_endpoint(endpoint, curve=True)
    if expected:
        check_endpoint(endpoint)
    else:
        with pytest.raises(SettingsError, match=r"nothing protects it.*publish\.insecure"):
            check_endpoint(endpoint)


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"folder of ipc://.* does not exist; create"):
        parse_binds([f"ipc://{tmp_path}/missing/x.sock"])


def test_a_file_in_the_way_is_not_overwritten(sock_dir: Path) -> None:
    (sock_dir / "x.sock").write_text("precious")
    with pytest.raises(SettingsError, match="is not a socket"):
        parse_binds([f"ipc://{sock_dir}/x.sock"])


def test_an_unwritable_folder_is_refused() -> None:
    # /proc takes no new files, not even root's.
    with pytest.raises(SettingsError, match="cannot be"):
        hold(parse_endpoint("ipc:///proc/x.sock"))


def test_binds_need_one_and_no_twins(sock_dir: Path) -> None:
    with pytest.raises(SettingsError, match="no endpoint"):
        parse_binds([])
    with pytest.raises(SettingsError, match="twice"):
        parse_binds(["tcp://127.0.0.1:5", "tcp://localhost:5"])
    assert len(parse_binds(["tcp://127.0.0.1:5", f"ipc://{sock_dir}/x.sock"])) == 2
