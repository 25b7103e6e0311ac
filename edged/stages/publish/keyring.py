# SPDX-License-Identifier: Apache-2.0
"""Key files on disk: whose public key is authorised. A running daemon follows the folder."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from edged.errors import SettingsError
from edged.stages.publish.security import KEY_FILE, load_public, read_key_file

_NAME = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,99}")


class AuthorizedKey(NamedTuple):
    """One client that may subscribe.

    Attributes:
        name: of its file, without ``.key``.
        public: its public key, Z85; empty where the file is no key.
    """

    name: str
    public: str


def list_keys(folder: Path) -> list[AuthorizedKey]:
    """Who is authorised, by name.

    Raises:
        SettingsError: the folder cannot be read.
    """
    found = []
    for path in _key_files(folder):
        try:
            found.append(AuthorizedKey(path.stem, load_public(path, str(folder)).decode("ascii")))
        except SettingsError:
            found.append(AuthorizedKey(path.stem, ""))
    return found


def authorise(folder: Path, key_file: Path, name: str = "") -> Path:
    """Let a client in: put its public key into the folder, in one step, whatever becomes of this process.

    Args:
        folder: ``publish.curve.authorized_keys_dir``; made where it is missing.
        key_file: the client's public key file.
        name: to keep it under; default: that of the file.

    Returns:
        The file in the folder.

    Raises:
        SettingsError: it is no public key, another key has that name, or the folder cannot be written.
    """
    public, secret = read_key_file(key_file, str(key_file))
    if secret is not None:
        raise SettingsError(
            "holds a secret key, which must not leave its owner",
            where=str(key_file),
            remedy="give the *.key file beside it",
        )
    path = folder / f"{check_name(name or key_file.stem)}.key"
    _make(folder)
    known = {key.public: key.name for key in list_keys(folder)}
    text = public.decode("ascii")
    if known.get(text) == path.stem:
        return path
    if text in known:
        raise SettingsError(f"is authorised already, as {known[text]}", where=str(key_file), remedy="that will do")
    if path.exists():
        raise SettingsError("another key has this name", where=str(path), remedy="give --name, or revoke it first")
    _write(path, KEY_FILE.format(public=text))
    return path


def revoke(folder: Path, name: str) -> Path:
    """Shut a client out: take its public key from the folder.

    Args:
        folder: ``publish.curve.authorized_keys_dir``.
        name: as `list_keys` tells it.

    Returns:
        The file that was removed.

    Raises:
        SettingsError: nobody of that name is authorised, or the file cannot be removed.
    """
    names = [path.stem for path in _key_files(folder)]
    if name not in names:
        known = f"authorised are: {', '.join(names)}" if names else "nobody is authorised"
        raise SettingsError(f"no key is called {name}", where=str(folder), remedy=known)
    path = folder / f"{name}.key"
    try:
        path.unlink()
    except OSError as error:
        raise SettingsError(
            f"cannot be removed: {error.strerror}", where=str(path), remedy="run this as the owner of the folder"
        ) from error
    return path


def check_name(name: str) -> str:
    """A name that may be that of a key file.

    Raises:
        SettingsError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "a key's name has letters, digits, . _ - and @",
            where=name if name.isprintable() else "NAME",
            remedy="choose another name; --folder says where it is kept",
        )
    return name


def _make(folder: Path) -> None:
    """Make the folder of keys, if it is missing, for those who may read the one that it lies in: owner and group."""
    try:
        folder.mkdir(0o750)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(
            f"cannot be created: {error.strerror}", where=str(folder), remedy="create it, or give --folder"
        ) from error
    try:
        # The daemon's group, as tmpfiles.d gives it to /etc/edged: what root makes, the daemon must be able to read.
        os.chown(folder, -1, folder.parent.stat().st_gid)
    except PermissionError:
        pass  # a group that this user is not in; its own daemon needs none


def _key_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".key")
    except OSError as error:
        raise SettingsError(
            f"cannot be read: {error.strerror}", where=str(folder), remedy="create it, or give --folder"
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".edged-", suffix=".new")
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        raise SettingsError(
            f"cannot be written: {error.strerror}", where=str(path), remedy="run this as the owner of the folder"
        ) from error
