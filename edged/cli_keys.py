# SPDX-License-Identifier: Apache-2.0
"""CURVE keys on the command line of ``edged tail`` and ``edged top``; only the paths of files stand there."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from edged.errors import UsageError

if TYPE_CHECKING:
    from edged.stages.publish.security import ClientCurve


def add_keys(parser: ArgumentParser) -> None:
    """Add the flags that name key files."""
    parser.add_argument(
        "--server-key",
        type=Path,
        metavar="FILE",
        help="for a tcp endpoint with CURVE: the daemon's public key, NAME.key of edged keys create",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="with --server-key: this client's own secret key, NAME.key_secret, whose NAME.key is authorised there",
    )


def client_curve(given: Namespace) -> ClientCurve | None:
    """The keys that the command line names; None where it names none.

    Raises:
        UsageError: one of two, or keys for an endpoint that has none.
        SettingsError: a file is missing or no key, or others may read the secret one.
    """
    if given.server_key is None and given.key is None:
        return None
    where = f"edged {given.command}"
    if given.server_key is None or given.key is None:
        raise UsageError(
            "--server-key and --key go together",
            where=where,
            remedy="give the daemon's NAME.key and this client's own NAME.key_secret",
        )
    if not given.connect.startswith("tcp://"):
        raise UsageError(
            "--server-key and --key are for tcp endpoints, CURVE is for nothing else",
            where=where,
            remedy="leave them out, or give --connect tcp://HOST:PORT",
        )
    from edged.stages.publish.security import load_client_curve

    return load_client_curve(given.server_key, given.key)
