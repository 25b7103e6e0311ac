# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: read the settings again, apply what can be applied live, say what needs a restart.

What came of it stands in the log, in an event, and in a small file for ``edged reload``, which waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edged.errors import EdgedError
from edged.runtime.live_settings import Outcome
from edged.runtime.notify import Notifier
from edged.runtime.record import DaemonRecord, Reloaded
from edged.runtime.verify import Announce

if TYPE_CHECKING:
    from edged.settings import Settings


class SettingsReload:
    """Reads one daemon's settings again.

    Args:
        config: the settings file.
        overrides: flags of the form ``--section.key value``.
        state_dir: of the daemon.
    """

    def __init__(self, config: Path, overrides: Sequence[str], state_dir: Path) -> None:
        self._config = config
        self._overrides = overrides
        self._record = DaemonRecord(state_dir, config, overrides)

    def begin(self) -> None:
        """The daemon may be asked from now on."""
        self._record.begin()

    def serve(self, apply: Callable[[Settings], Outcome], notifier: Notifier, announce: Announce) -> None:
        """Read the settings again; whatever is wrong with them changes nothing.

        Args:
            apply: applies what can be applied; raises EdgedError where they are wrong, and has changed nothing then.
            notifier: to the service manager, which is told of the beginning and of the end.
            announce: logs and publishes what came of it.
        """
        notifier.reloading()
        try:
            outcome = apply(self._load())
        except EdgedError as error:
            announce("reload-refused", "", "error", f"the settings stay as they are: {error}")
            self._record.write(Reloaded("refused", str(error), error.exit_code))
        else:
            announce("reloaded", "", "info", f"the settings were read again: {outcome.text}")
            self._record.write(Reloaded("restart" if outcome.restart else "applied", outcome.text, 0))
        finally:
            notifier.ready()

    def close(self) -> None:
        """The daemon ends."""
        self._record.close()

    def _load(self) -> Settings:
        from edged.config import load

        return load(self._config, self._overrides, os.environ).settings
