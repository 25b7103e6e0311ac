# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: read the settings again, apply what can be applied live, say what needs a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.errors import EdgedError
from edged.runtime.notify import Notifier
from edged.runtime.verify import Announce

if TYPE_CHECKING:
    from edged.config import Settings


def read_again(reload: Callable[[], str], notifier: Notifier, announce: Announce, *, started: bool) -> None:
    """Serve a request to read the settings again; whatever is wrong with them changes nothing.

    Args:
        reload: does it, see `SettingsReload`.
        notifier: to the service manager, which is told of the beginning and of the end.
        announce: logs and publishes what came of it.
        started: whether the daemon is ready; else that is still to be said.
    """
    notifier.reloading()
    try:
        text = reload()
    except EdgedError as error:
        announce("reload-refused", "", "error", f"the settings stay as they are: {error}")
    else:
        announce("reloaded", "", "info", f"the settings were read again: {text}")
    if started:
        notifier.ready()


class SettingsReload:
    """Reads one daemon's settings again; call it for each request.

    Args:
        config: the settings file.
        overrides: flags of the form ``--section.key value``.
        settings: those that the daemon runs with.
    """

    def __init__(self, config: Path, overrides: Sequence[str], settings: Settings) -> None:
        self._config = config
        self._overrides = overrides
        self._running = settings

    def __call__(self) -> str:
        """Apply what can be applied.

        Returns:
            What came of it, a clause for the log.

        Raises:
            EdgedError: the settings are wrong; nothing was changed.
        """
        from edged.config import load

        settings = load(self._config, self._overrides, os.environ).settings
        changed = differences(self._running.model_dump(), settings.model_dump())
        if not changed:
            return "nothing has changed"
        parts = []
        if "daemon.log_level" in changed:
            changed.remove("daemon.log_level")
            level = settings.daemon.log_level
            logging.getLogger("edged").setLevel(level.upper())
            self._running = self._running.model_copy(
                update={"daemon": self._running.daemon.model_copy(update={"log_level": level})}
            )
            parts.append(f"the log level is {level} now")
        if changed:
            parts.append(f"a restart is needed for {', '.join(changed)}")
        return "; ".join(parts)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys that differ, in order; never their values, which may be secret."""
    found: list[str] = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}")
    return found
