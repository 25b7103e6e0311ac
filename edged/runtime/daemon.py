# SPDX-License-Identifier: Apache-2.0
"""``edged run``: from the command line to a running family of processes, and back."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edged import __version__
from edged.errors import EdgedError
from edged.runtime.logs import set_up_logging, settle_log
from edged.runtime.notify import Notifier
from edged.runtime.signals import StopSignal

if TYPE_CHECKING:
    from edged.config import Settings
    from edged.runtime.reload import SettingsReload

_LOG = logging.getLogger("edged")


def run_daemon(config: Path, overrides: Sequence[str], exit_when_done: bool, stop: StopSignal) -> int:
    """Run the daemon until it is stopped or done.

    Args:
        config: the settings file.
        overrides: flags of the form ``--section.key value``.
        exit_when_done: end once every source has ended and everything is published.
        stop: the request to stop; its handlers stand already.

    Returns:
        The exit code.

    Raises:
        EdgedError: what went wrong, with its exit code.
    """
    notifier = Notifier.from_environment(os.environ)
    from edged.config import load
    from edged.runtime.reload import SettingsReload

    try:
        loaded = load(config, overrides, os.environ)
        daemon = loaded.settings.daemon
        set_up_logging(daemon.log_level, daemon.log_format, sys.stderr, os.environ)
        if stop.requested:
            return 0
        reload = SettingsReload(config, overrides, loaded.settings.daemon.state_dir)
        return run_settings(loaded.settings, exit_when_done=exit_when_done, stop=stop, notifier=notifier, reload=reload)
    except EdgedError as error:
        # One line of the log is easily missed: what keeps the daemon from working stands in the manager's status, too.
        notifier.stopping(str(error))
        raise
    finally:
        settle_log()
        notifier.stopping()
        notifier.close()


def run_settings(
    settings: Settings,
    *,
    exit_when_done: bool,
    stop: StopSignal,
    notifier: Notifier | None = None,
    reload: SettingsReload | None = None,
) -> int:
    """Run the daemon with settings that are loaded already.

    Args:
        settings: as loaded.
        exit_when_done: end once every source has ended and everything is published.
        stop: the request to stop, or to read the settings again.
        notifier: to the service manager; default: there is none.
        reload: reads the settings again; default: nobody does.
    """
    from edged.runtime.build_first import build_first
    from edged.runtime.launch import Launcher, ProcessLauncher, ThreadLauncher
    from edged.runtime.setup import hold_endpoints, resolve
    from edged.runtime.supervisor import Supervisor

    _LOG.info("edged %s starts", __version__)
    notifier = notifier or Notifier()
    notifier.status("starting")
    setup = resolve(settings)
    _raise_descriptor_limit()
    launcher: Launcher = ProcessLauncher()
    if settings.daemon.isolation == "thread":
        from edged.runtime.child import serve

        launcher = ThreadLauncher(serve)
    try:
        hold_endpoints(setup)
        if not build_first(setup, stop, on_tick=notifier.extend):
            return 0
        supervisor = Supervisor(setup, launcher, stop, exit_when_done=exit_when_done, notifier=notifier, reload=reload)
        supervisor.run()
    finally:
        setup.release()
    errors = [status.error for status in supervisor.statuses if status.error is not None]
    if errors and exit_when_done and not stop.requested:
        raise errors[0]
    return 0


def _raise_descriptor_limit() -> None:
    """Every source costs a few descriptors in infer; the soft limit of 1,024 is for programs that use select."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
