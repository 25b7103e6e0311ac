# SPDX-License-Identifier: Apache-2.0
"""``edged keys``: make key pairs, and say which clients may subscribe over tcp; a running daemon follows at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from edged.errors import UsageError
from edged.stages.publish.keyring import authorise, check_name, list_keys, revoke
from edged.stages.publish.security import create_keys

DEFAULT_FOLDER = Path("/etc/edged/authorized")


def run_keys(given: Namespace, environ: Mapping[str, str], show: Callable[[str], None]) -> int:
    """Do what the command line asks for.

    Args:
        given: from `edged.cli_arguments.parse`: action, name, folder, config and label.
        environ: of this process.
        show: takes each line of output.

    Returns:
        The exit code.

    Raises:
        EdgedError: why it cannot be done.
    """
    if given.action == "list":
        if given.name is not None:
            raise UsageError("edged keys list takes no name", remedy="see edged keys --help")
        return _list(_authorized_folder(given, environ), show)
    if given.name is None:
        what = "a key file" if given.action == "authorise" else "a name"
        raise UsageError(f"edged keys {given.action} needs {what}", remedy="see edged keys --help")
    if given.label is not None and given.action != "authorise":
        raise UsageError("--name goes with edged keys authorise", remedy="see edged keys --help")
    if given.action == "create":
        public, secret = create_keys(given.folder or Path(), check_name(given.name))
        show(f"{secret}\tkeep it; only its owner can read it\n{public}\thand it out")
    elif given.action == "authorise":
        path = authorise(_authorized_folder(given, environ), Path(given.name), given.label or "")
        show(f"{path}\tmay subscribe from now on")
    else:
        path = revoke(_authorized_folder(given, environ), given.name)
        show(f"{path}\tremoved; a running daemon ends its connections within two seconds")
    return 0


def _list(folder: Path, show: Callable[[str], None]) -> int:
    keys = list_keys(folder)
    width = max((len(key.name) for key in keys), default=0)
    for key in keys:
        show(f"{key.name:{width}}  {key.public or 'is no public key file, and is ignored'}")
    if not keys:
        show(f"{folder} holds no key: nobody may subscribe over tcp")
    return 0


def _authorized_folder(given: Namespace, environ: Mapping[str, str]) -> Path:
    """The folder given, or that of the settings."""
    if given.folder is not None:
        return Path(given.folder)
    if not given.config.exists():
        return DEFAULT_FOLDER
    from edged.config import load

    curve = load(given.config, [], environ).settings.publish.curve
    return DEFAULT_FOLDER if curve is None else curve.authorized_keys_dir
