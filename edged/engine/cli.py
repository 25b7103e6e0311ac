# SPDX-License-Identifier: Apache-2.0
"""The command line of ``edged-build-engine``.

Next to nothing is imported before `main` runs: an interrupt that arrives earlier would show a traceback.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from edged.entry import run_command

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_PROGRAM = "edged-build-engine"


def main(argv: Sequence[str] | None = None) -> int:
    """Build an engine, or explain one.

    Args:
        argv: the arguments; default ``sys.argv[1:]``.

    Returns:
        The exit code: 0, or that of the error, which is one line on stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A service manager's request to stop ends a build like Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run_command(
            _PROGRAM, lambda: _dispatch(arguments), traceback="--traceback" in arguments, interrupted=_interrupted
        )
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted() -> int:
    print(f"{_PROGRAM}: stopped; the engines are as they were", file=sys.stderr)
    return 0


def _dispatch(arguments: list[str]) -> int:
    from edged.engine.options import parse

    given = parse(arguments)
    if given.text is not None:
        print(given.text)
        return 0
    return _explain(given) if given.explain else _build(given)


def _build(given: Namespace) -> int:
    # Only now: a wrong flag should not wait for a display library.
    import os
    from pathlib import Path

    from rich.console import Console

    from edged.engine.options import expect_spec, request_for
    from edged.engine.process import run_build
    from edged.engine.progress import Display
    from edged.engine.report.verdict import show_verdict
    from edged.engine.store import model_folder, read_engine
    from edged.engine.summary import brief, summary

    request = request_for(given, os.environ)
    if given.model is not None:
        expect_spec(Path(request.spec))
    # On stdout, so that stderr holds nothing but the one line of an error.
    console = Console()
    display = Display(console, tracebacks=given.traceback)
    try:
        with display:
            done = run_build(request, display.show)
    finally:
        if display.verdict is not None:
            verdict = display.verdict
            show_verdict(verdict.data, console, Path(verdict.report) if verdict.report else None)
    engine = read_engine(model_folder(Path(request.state_dir), done.model_id), done.key)
    print(summary(request, done, engine.manifest) if display.verdict is None else brief(request, done, engine.manifest))
    return 0


def _explain(given: Namespace) -> int:
    import os

    from edged.engine.explain import Question, explain
    from edged.engine.options import chosen_spec, expect_spec, settings_for
    from edged.engine.toolkit import device_facts

    spec = chosen_spec(given, os.environ)
    settings = settings_for(given, spec, os.environ).settings
    if given.model is not None:
        expect_spec(spec)
    question = Question(
        spec=spec,
        state_dir=settings.daemon.state_dir.absolute(),
        backend=given.backend or settings.engine.backend,
        precision=given.precision or settings.engine.precision,
        ask=lambda: device_facts(settings.engine.device),
    )
    text, code = explain(question)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
