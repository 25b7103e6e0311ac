# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from edged.errors import SettingsError
from edged.messages import EVENT, Event
from edged.stages.publish.client import Subscriber
from edged.stages.publish.gatekeeper import Gatekeeper
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.security import (
    ClientCurve,
    ServerCurve,
    create_keys,
    load_client_curve,
    load_server_curve,
)

Make = Callable[..., Publisher]
Wait = Callable[..., None]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Keys of a daemon, of a known client and of a stranger; only the known one is authorised."""
    for name in ("daemon", "known", "stranger"):
        create_keys(tmp_path, name)
    (tmp_path / "authorized").mkdir()
    shutil.copy(tmp_path / "known.key", tmp_path / "authorized")
    return tmp_path


def server(keys: Path) -> ServerCurve:
    return load_server_curve(keys / "daemon.key_secret", keys / "authorized")


def client(keys: Path, name: str) -> ClientCurve:
    return load_client_curve(keys / "daemon.key", keys / f"{name}.key_secret")


def test_only_authorised_keys_get_anything_over_tcp(
    make_publisher: Make, wait_until: Wait, endpoint: str, tcp: str, keys: Path
) -> None:
    publisher = make_publisher(binds=[tcp, endpoint], curve=server(keys))
    wrong_server = ClientCurve(client(keys, "stranger").public, *_pair(client(keys, "known")))
    with Subscriber(tcp, curve=client(keys, "known")) as known, Subscriber(endpoint) as local:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 2)
        wait_until(publisher, lambda: publisher.subscribers == 2)
        # The refused come second: of handshakes under way at once the monitor does not tell whose succeeded.
        with (
            Subscriber(tcp, curve=client(keys, "stranger")) as stranger,
            Subscriber(tcp, curve=wrong_server) as misled,
            Subscriber(tcp) as plain,
        ):
            wait_until(publisher, lambda: publisher.handshake_failures >= 3)
            publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k"))
            assert known.receive(5) is not None
            assert local.receive(5) is not None
            for refused in (stranger, misled, plain):
                assert refused.receive(0.1) is None
        wait_until(publisher, lambda: publisher.subscribers == 2)


def _pair(curve: ClientCurve) -> tuple[bytes, bytes]:
    return curve.public, curve.secret


def test_secret_keys_are_for_their_owner_only(keys: Path) -> None:
    assert stat.S_IMODE((keys / "daemon.key_secret").stat().st_mode) == 0o600
    for loaded in (server(keys), client(keys, "known")):
        assert loaded.secret.decode() not in repr(loaded)
    (keys / "daemon.key_secret").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        server(keys)


def test_keys_are_never_overwritten(keys: Path) -> None:
    before = (keys / "daemon.key_secret").read_bytes()
    with pytest.raises(SettingsError, match="File exists"):
        create_keys(keys, "daemon")
    assert (keys / "daemon.key_secret").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    ["", "hello", 'public-key = "short"', 'public-key = "' + "é" * 20 + '"', "public-key", b"\xff\x00public-key=\xff"],
)
def test_what_is_no_key_is_refused(keys: Path, content: str | bytes) -> None:
    (keys / "authorized" / "bad.key").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=r"authorized_keys_dir.*bad\.key"):
        server(keys)


def test_missing_parts_are_refused(keys: Path) -> None:
    with pytest.raises(SettingsError, match="secret_key_file"):
        load_server_curve(keys / "missing", keys / "authorized")
    (keys / "daemon.key").chmod(0o600)
    with pytest.raises(SettingsError, match="holds no secret key"):
        load_server_curve(keys / "daemon.key", keys / "authorized")
    with pytest.raises(SettingsError, match="is not a folder"):
        load_server_curve(keys / "daemon.key_secret", keys / "missing")
    os.rename(keys / "authorized" / "known.key", keys / "authorized" / "known.txt")
    with pytest.raises(SettingsError, match="nobody could subscribe"):
        server(keys)


def test_a_secret_key_among_the_authorised_is_refused(keys: Path) -> None:
    shutil.copy(keys / "known.key_secret", keys / "authorized" / "oops.key")
    with pytest.raises(SettingsError, match="holds a secret key"):
        server(keys)


@pytest.mark.parametrize(
    "question",
    [
        [b""],
        [b"1.0", b"7"],
        [b"1.0", b"7", b"", b"127.0.0.1", b"", b"NULL"],
        [b"1.0", b"7", b"", b"127.0.0.1", b"", b"PLAIN", b"user", b"password"],
        [b"2.0", b"7", b"", b"127.0.0.1", b"", b"CURVE", b"k" * 32],
        [b"1.0", b"7", b"", b"127.0.0.1", b"", b"CURVE", b"k" * 31],
        [b"1.0", b"7", b"", b"127.0.0.1", b"", b"CURVE", b"k" * 32],
    ],
)
def test_what_cannot_be_checked_is_refused(question: list[bytes]) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gatekeeper = Gatekeeper(context, frozenset([zmq.curve_keypair()[0]]))
    asker = context.socket(zmq.REQ)
    asker.linger = 0
    try:
        asker.connect("inproc://zeromq.zap.01")
        asker.send_multipart(question)
        gatekeeper.answer(10)
        assert asker.poll(5000)
        assert asker.recv_multipart()[2] == b"400"
    finally:
        asker.close()
        gatekeeper.close()
        context.term()
