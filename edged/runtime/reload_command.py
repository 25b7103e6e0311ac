# SPDX-License-Identifier: Apache-2.0
"""``edged reload``: have a daemon that runs read its settings again, and say what came of it."""

from __future__ import annotations

import os
import signal
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edged.errors import BY_NAME, DeviceUnavailableError, EdgedError, InternalError
from edged.runtime.record import Entry, find, flags_of, path_of, read

_PATIENCE_S = 30.0
_LOOK_S = 0.05


def run_reload(given: Namespace, environ: Mapping[str, str], show: Callable[[str], None]) -> int:
    """Ask the daemon that runs with a settings file; waits until it has read it.

    Args:
        given: the command's arguments: ``config``, ``overrides`` and ``pid``.
        environ: environment variables.
        show: prints a line.

    Returns:
        0: the settings are good. What was applied is shown, and what needs a restart.

    Raises:
        SettingsError: they are wrong; the daemon was not even asked.
        DeviceUnavailableError: no daemon runs with this file and these flags, several do, or it may not be asked.
        EdgedError: the daemon refused them, for the reason and with the exit code that a start would have.
    """
    from edged.config import load

    state_dir = load(given.config, given.overrides, environ).settings.daemon.state_dir
    entry = _running(given, state_dir)
    try:
        os.kill(entry.pid, signal.SIGHUP)
    except ProcessLookupError as error:
        raise _nobody(given.config, state_dir) from error
    except PermissionError as error:
        raise DeviceUnavailableError(
            f"the daemon with pid {entry.pid} belongs to another user",
            where=str(given.config),
            remedy="run this as that user or as root, or: systemctl reload edged",
        ) from error
    show(_outcome(entry, state_dir))
    return 0


def _running(given: Namespace, state_dir: Path) -> Entry:
    """The daemon that is meant: the one with this pid, else with these flags, else the only one with this file."""
    wanted = str(given.config.resolve())
    all_of_file = [entry for entry in find(state_dir) if entry.config == wanted]
    if not all_of_file:
        raise _nobody(given.config, state_dir)
    if given.pid is not None:
        fitting = [entry for entry in all_of_file if entry.pid == given.pid]
    else:
        flags = flags_of(given.overrides)
        fitting = [entry for entry in all_of_file if entry.flags == flags]
        if not fitting:
            # What an older version did not note may be this; and who gives no flags means whatever runs.
            fitting = [entry for entry in all_of_file if entry.flags is None or not flags]
    if len(fitting) == 1:
        return fitting[0]
    which = "these flags" if given.pid is None else f"pid {given.pid}"
    what = f"several daemons run with it: {_listed(fitting)}"
    if not fitting:
        what = f"no daemon runs with it and {which}, but with it runs {_listed(all_of_file)}"
    raise DeviceUnavailableError(
        what, where=str(given.config), remedy="say which one with --pid, or by the flags that it was started with"
    )


def _listed(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.shown for entry in entries)


def _nobody(config: Path, state_dir: Path) -> EdgedError:
    return DeviceUnavailableError(
        f"no daemon runs with these settings and the state folder {state_dir}",
        where=str(config),
        remedy="give the file that it was started with: --config FILE, and its flags",
    )


def _outcome(entry: Entry, state_dir: Path) -> str:
    """What came of it, in words.

    Raises:
        EdgedError: it was refused, or nothing came of it in time.
    """
    path, end = path_of(state_dir, entry), time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        now = read(path)
        if now is not None and now.reloads > entry.reloads and now.last is not None:
            if now.last.outcome == "refused":
                kind = next(each for each in BY_NAME.values() if each.exit_code == now.last.exit_code)
                raise kind(f"refused, the daemon's settings stay as they are: {now.last.text}")
            return now.last.text
        if not entry.alive:
            raise InternalError("the daemon ended meanwhile", remedy="see its log")
        # There is nothing to wait on: a signal has no answer.
        time.sleep(_LOOK_S)
    raise InternalError(f"the daemon said nothing within {_PATIENCE_S:g} s", remedy="see its log")
