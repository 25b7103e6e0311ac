# SPDX-License-Identifier: Apache-2.0
"""The command line: ``edged run | demo | check | reload | tail | top | keys | export | bench | doctor``.

Next to nothing is imported before `main` runs: a signal that arrives before its handler stands kills the process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edged.entry import INTERRUPTED, run_command

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from edged.runtime.signals import StopSignal

_UNTIL_STOPPED = ("run", "demo", "tail", "top")
"""Commands that go on until they are stopped: for them an interrupt is the usual end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; default ``sys.argv[1:]``.

    Returns:
        The exit code: 0, or that of the error, which is one line on stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((argument for argument in arguments if not argument.startswith("-")), None)

    def work() -> int:
        stop = _stop_signal(command)
        return _dispatch([argument for argument in arguments if argument != "--traceback"], stop)

    return run_command(
        "edged",
        work,
        traceback="--traceback" in arguments,
        interrupted=lambda: 0 if command in _UNTIL_STOPPED else INTERRUPTED,
    )


def _stop_signal(command: str | None) -> StopSignal | None:
    """Handlers for the commands that have children to end."""
    if command not in ("run", "demo"):
        return None
    from edged.runtime.signals import install

    return install()


def _dispatch(arguments: list[str], stop: StopSignal | None) -> int:
    from edged.cli_arguments import parse

    given = parse(arguments)
    if given.text is not None:
        print(given.text)
        return 0
    if stop is not None:
        return _serve(given, stop)
    commands = {
        "check": _check,
        "tail": _tail,
        "top": _top,
        "keys": _keys,
        "export": _export,
        "bench": _bench,
        "doctor": _doctor,
        "reload": _reload,
    }
    return commands[given.command](given)


def _serve(given: Namespace, stop: StopSignal) -> int:
    """``edged run`` and ``edged demo``."""
    if given.command == "demo":
        from edged.runtime.demo import run_demo

        return run_demo(given.seconds, stop)
    from edged.runtime.daemon import run_daemon

    return run_daemon(given.config, given.overrides, given.exit_when_done, stop)


def _check(given: Namespace) -> int:
    import os

    from edged.check import run_check

    return run_check(given.config, given.overrides, os.environ, as_json=given.json, show=_show)


def _reload(given: Namespace) -> int:
    import os

    from edged.runtime.reload_command import run_reload

    return run_reload(given, os.environ, _show)


def _keys(given: Namespace) -> int:
    import os

    from edged.keys import run_keys

    return run_keys(given, os.environ, _show)


def _tail(given: Namespace) -> int:
    import signal

    from edged.cli_keys import client_curve
    from edged.stages.publish.tail import run_tail

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: as asked, with 0
    return run_tail(
        given.connect,
        given.topics or [""],
        given.json,
        given.count,
        given.seconds,
        sys.stdout,
        curve=client_curve(given),
    )


def _top(given: Namespace) -> int:
    import signal

    from edged.cli_keys import client_curve
    from edged.top import run_top

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as for tail
    return run_top(given.connect, once=given.once, out=sys.stdout, curve=client_curve(given))


def _export(given: Namespace) -> int:
    from edged.export.command import run_export

    return run_export(given, _show)


def _bench(given: Namespace) -> int:
    import os

    from edged.bench.command import run_bench

    return run_bench(given, os.environ)


def _doctor(given: Namespace) -> int:
    import os

    from edged.doctor.command import run_doctor

    return run_doctor(given, os.environ, _show)


def _show(text: str) -> None:
    print(text, flush=True)
