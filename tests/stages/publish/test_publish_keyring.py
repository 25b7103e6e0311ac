# SPDX-License-Identifier: Apache-2.0
"""Who may subscribe: the folder of keys, from the command line's side and from the daemon's."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import SettingsError
from edged.messages import EVENT, Event
from edged.stages.publish.authorized import AuthorizedKeys
from edged.stages.publish.client import Subscriber
from edged.stages.publish.keyring import authorise, list_keys, revoke
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.security import ClientCurve, create_keys, load_client_curve, load_public, load_server_curve

Make = Callable[..., Publisher]
Wait = Callable[..., None]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("daemon", "one", "two"):
        create_keys(tmp_path, name)
    (tmp_path / "authorized").mkdir()
    return tmp_path


@pytest.fixture
def folder(keys: Path) -> Path:
    return keys / "authorized"


def test_in_and_out(keys: Path, folder: Path) -> None:
    path = authorise(folder, keys / "one.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert authorise(folder, keys / "one.key") == path  # once more changes nothing
    authorise(folder, keys / "two.key", "second")
    assert [key.name for key in list_keys(folder)] == ["one", "second"]
    assert list_keys(folder)[0].public.encode() == load_public(keys / "one.key", "")
    assert revoke(folder, "one") == path
    assert [entry.name for entry in folder.iterdir()] == ["second.key"]


def test_what_is_refused(keys: Path, folder: Path) -> None:
    authorise(folder, keys / "one.key")
    refused: dict[str, Callable[[], object]] = {
        "holds a secret key": lambda: authorise(folder, keys / "two.key_secret"),
        "cannot be read as a key": lambda: authorise(folder, keys / "missing.key"),
        "authorised already, as one": lambda: authorise(folder, keys / "one.key", "again"),
        "another key has this name": lambda: authorise(folder, keys / "two.key", "one"),
        "a key's name has letters": lambda: authorise(folder, keys / "two.key", "../two"),
        "no key is called two": lambda: revoke(folder, "two"),
        "no key is called ../daemon": lambda: revoke(folder, "../daemon"),
        "No such file": lambda: list_keys(keys / "nowhere"),
    }
    for what, call in refused.items():
        with pytest.raises(SettingsError, match=what):
            call()
    assert (keys / "daemon.key").exists()
    assert [key.name for key in list_keys(folder)] == ["one"]


def test_the_first_to_be_let_in_makes_the_folder(keys: Path, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(SettingsError, match="cannot be read as a key"):
        authorise(folder, keys / "missing.key")
    assert not folder.exists()
    authorise(folder, keys / "one.key")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert folder.stat().st_gid == keys.stat().st_gid
    with pytest.raises(SettingsError, match="cannot be created: No such file"):
        authorise(keys / "no" / "where", keys / "one.key")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_folder_is_followed(keys: Path, folder: Path) -> None:
    one, two = (load_public(keys / f"{name}.key", "") for name in ("one", "two"))
    followed = AuthorizedKeys(folder, frozenset(), Clock())
    assert followed.refresh() == frozenset()
    authorise(folder, keys / "one.key")
    authorise(folder, keys / "two.key")
    assert followed.refresh() == frozenset()
    assert followed.keys == {one, two}
    revoke(folder, "two")
    assert followed.refresh() == {two}
    # A key that is changed in place, within one tick of the file system's clock.
    shutil.copy(keys / "two.key", folder / "one.key")
    assert followed.refresh() == {one}
    assert followed.keys == {two}
    (folder / "bad.key").write_text("half writ")
    assert followed.refresh() == frozenset()
    assert followed.keys == {two}
    (remark,) = followed.remarks
    assert "bad.key cannot be read as a key file" in remark
    shutil.rmtree(folder)
    assert followed.refresh() == {two}
    assert followed.keys == frozenset()
    assert "nobody is let in" in followed.remarks[-1]


def test_a_folder_at_rest_is_not_read_again(keys: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = authorise(folder, keys / "one.key")
    os.utime(path, (time.time() - 60, time.time() - 60))
    followed = AuthorizedKeys(folder, frozenset(), Clock())
    followed.refresh()
    path.chmod(0o600)
    stamps = path.stat()
    path.write_text(path.read_text().replace('"', "'"))  # no key any more: to be seen only if it were read
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    for _ in range(3):
        assert followed.refresh() == frozenset()
    assert followed.keys


def test_looks_are_rare(keys: Path, folder: Path) -> None:
    followed = AuthorizedKeys(folder, frozenset(), lambda: 5.0)
    followed.refresh()
    authorise(folder, keys / "one.key")
    assert followed.refresh() == frozenset()
    assert not followed.keys


def test_a_revoked_client_is_cut_off_and_the_others_come_back(
    make_publisher: Make, wait_until: Wait, endpoint: str, tcp: str, keys: Path, folder: Path
) -> None:
    for name in ("one", "two"):
        authorise(folder, keys / f"{name}.key")
    publisher = make_publisher(
        binds=[endpoint, tcp], curve=load_server_curve(keys / "daemon.key_secret", keys / "authorized")
    )

    def curve(name: str) -> ClientCurve:
        return load_client_curve(keys / "daemon.key", keys / f"{name}.key_secret")

    def publish() -> None:
        publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k"))

    def come_back(subscriber: Subscriber) -> bool:
        return subscriber.receive(0.0) is None  # ZeroMQ subscribes again only while somebody asks for messages

    with (
        Subscriber(tcp, curve=curve("one")) as one,
        Subscriber(tcp, curve=curve("two")) as two,
        Subscriber(endpoint) as local,
    ):
        wait_until(publisher, lambda: publisher.subscribers == 3 and publisher.prediction_subscriptions == 3)
        publish()
        assert all(each.receive(5) for each in (one, two, local))
        revoke(folder, "two")
        begin = time.monotonic()
        wait_until(publisher, lambda: come_back(one) and publisher.poll_subscriptions() >= 4)
        assert time.monotonic() - begin < 5
        # Who is cut off in the middle of a handshake is only tried again by a client that is asked for messages.
        wait_until(publisher, lambda: come_back(one) and publisher.subscribers == 2)
        publish()
        assert one.receive(5)
        assert local.receive(5)
        assert two.receive(0.2) is None
        wait_until(publisher, lambda: come_back(two) and bool(publisher.handshake_failures))
        assert any("refused" in text for text in publisher.remarks())
        authorise(folder, keys / "two.key")
        with Subscriber(tcp, curve=curve("two")) as again:

            def heard() -> bool:
                publish()
                return again.receive(0.05) is not None

            wait_until(publisher, heard)
