# SPDX-License-Identifier: Apache-2.0
"""CURVE: encrypted tcp for subscribers whose public keys the daemon knows.

A CURVE server alone lets in any client that has a key pair. So whenever CURVE is on, every client key is checked
against the authorised ones (ZeroMQ's authentication protocol, RFC 27), and what cannot be checked is refused.
Key files are in the format of ``zmq.auth``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth.certs import load_certificate
from zmq.utils import z85

from edged.errors import SettingsError

_CREDENTIAL = "curve.key"
KEY_FILE = 'curve\n    public-key = "{public}"\n'
"""What a public key file holds."""
_SECRET_LINE = '    secret-key = "{secret}"\n'


@dataclass(frozen=True, slots=True)
class ServerCurve:
    """What a publisher needs.

    Attributes:
        secret: the daemon's secret key, Z85.
        authorized: public keys of the clients that may subscribe, Z85.
        folder: where these keys lie, to be followed; None when they never change.
    """

    secret: bytes = field(repr=False)
    authorized: frozenset[bytes]
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ClientCurve:
    """What a subscriber needs.

    Attributes:
        server: the daemon's public key, Z85.
        public: the client's public key, Z85.
        secret: the client's secret key, Z85.
    """

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)


def load_server_curve(secret_key_file: Path, authorized_keys_dir: Path, *, running: bool = False) -> ServerCurve:
    """Read the daemon's key and the authorised clients' (every ``*.key`` file of the folder).

    Args:
        secret_key_file: as configured; a service manager's credential ``curve.key`` takes its place.
        authorized_keys_dir: as configured.
        running: whether the daemon runs already, so that clients' keys, whatever becomes of them, are no reason to end
            it: then none is read yet, only followed.

    Raises:
        SettingsError: a file is missing, unreadable or no key, others may read the secret key, or nobody is authorised.
    """
    secret = _load_secret(_credential() or secret_key_file, "publish.curve.secret_key_file")[1]
    where = "publish.curve.authorized_keys_dir"
    if not authorized_keys_dir.is_dir():
        raise SettingsError(f"{authorized_keys_dir} is not a folder", where=where, remedy="create it")
    if running:
        return ServerCurve(secret, frozenset(), authorized_keys_dir)
    keys = frozenset(load_public(path, where) for path in sorted(authorized_keys_dir.glob("*.key")))
    if not keys:
        raise SettingsError(
            f"{authorized_keys_dir} holds no *.key file, so nobody could subscribe",
            where=where,
            remedy="put each client's public key there: edged keys authorise FILE.key",
        )
    return ServerCurve(secret, keys, authorized_keys_dir)


def load_client_curve(server_key_file: Path, secret_key_file: Path) -> ClientCurve:
    """Read the daemon's public key and a client's own key pair.

    Raises:
        SettingsError: a file is missing, unreadable or no key, or others may read the secret key.
    """
    public, secret = _load_secret(secret_key_file, str(secret_key_file))
    return ClientCurve(load_public(server_key_file, str(server_key_file)), public, secret)


def create_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair: ``name.key`` to hand out and ``name.key_secret``, which only its owner can read.

    Raises:
        SettingsError: a file of that name exists or cannot be written.
    """
    public, secret = (key.decode("ascii") for key in zmq.curve_keypair())
    paths = folder / f"{name}.key", folder / f"{name}.key_secret"
    text = KEY_FILE.format(public=public)
    for path, mode, content in (
        (paths[1], 0o600, text + _SECRET_LINE.format(secret=secret)),
        (paths[0], 0o644, text),
    ):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except OSError as error:
            raise SettingsError(
                f"cannot be created: {error.strerror}", where=str(path), remedy="choose another name or folder"
            ) from error
        with open(fd, "w", encoding="ascii") as file:
            file.write(content)
    return paths


def read_key_file(path: Path, where: str) -> tuple[bytes, bytes | None]:
    """Read a key file: the public key and, where it is there, the secret one; both Z85.

    Args:
        path: of the file.
        where: what to name in an error.

    Raises:
        SettingsError: it cannot be read or is no key.
    """
    try:
        public, secret = load_certificate(path)
        for key in (public, secret):
            if key is not None and len(z85.decode(key)) != 32:
                raise ValueError("a key has 40 characters")
    except (OSError, ValueError, LookupError) as error:
        # The error's own text may quote the file, and with it a key.
        raise SettingsError(
            f"{path} cannot be read as a key file", where=where, remedy="make one with edged keys create NAME"
        ) from error
    return public, secret


def load_public(path: Path, where: str) -> bytes:
    """Read a public key, Z85, from a file that holds nothing else.

    Args:
        path: of the file.
        where: what to name in an error.

    Raises:
        SettingsError: it cannot be read, is no key, or holds a secret one.
    """
    public, secret = read_key_file(path, where)
    if secret is not None:
        raise SettingsError(
            f"{path} holds a secret key", where=where, remedy="keep only the public key file here, and change the key"
        )
    return public


def _credential() -> Path | None:
    """The secret key as systemd's LoadCredential= hands it over: readable by this service alone, on no disk."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    path = Path(folder) / _CREDENTIAL
    return path if folder and path.is_file() else None


def _load_secret(path: Path, where: str) -> tuple[bytes, bytes]:
    # A credential may show a group's bits, which are the mask of the access list that lets in this service alone.
    others = 0o037 if path == _credential() else 0o077
    if path.is_file() and stat.S_IMODE(path.stat().st_mode) & others:
        raise SettingsError(f"{path} can be read by others", where=where, remedy=f"chmod 600 {path}")
    public, secret = read_key_file(path, where)
    if secret is None:
        raise SettingsError(f"{path} holds no secret key", where=where, remedy="give the *.key_secret file")
    return public, secret
