# SPDX-License-Identifier: Apache-2.0
"""Install edged as a service, bring an installation up to date, or take it away again; see ``tools/install``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.installer.machine import look
from tools.installer.plan import UNITS, Wish, install_steps, uninstall_steps
from tools.installer.reach import interpreter, require_interpreter, require_prefix
from tools.installer.steps import Step, StepError, carry_out

REPO = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the exit code is 0, 64 for a wrong flag, 69 where a step failed."""
    given = _parse(argv)
    # Whatever root's own is: the service has to read what is made here.
    os.umask(0o022)
    machine = look(given.root)
    root = given.root
    if root == Path("/") and os.geteuid() != 0 and not given.dry_run:
        print("tools/install: only root can do this; try sudo, or --dry-run to see what it does", file=sys.stderr)
        return 69
    wish = Wish(
        repo=REPO,
        machine=machine,
        root=root,
        prefix=given.prefix,
        wheel=given.wheel and given.wheel.absolute(),
        extra=given.extra,
        # An environment holds its own path, so that it can be made only where it is to run.
        files_only=given.files_only or root != Path("/"),
        start=given.start,
        enable=not given.no_enable,
    )
    _say(f"this machine: {machine}" if wish.live else f"the file system below {root}")
    try:
        steps = uninstall_steps(wish) if given.uninstall else _sound_steps(wish)
        count = carry_out(steps, dry=given.dry_run, say=lambda text: _say(f"  {text}"))
    except StepError as error:
        print(f"tools/install: {error}", file=sys.stderr)
        return 69
    _say(_farewell(wish, given, count))
    return 0


def _sound_steps(wish: Wish) -> list[Step]:
    """The steps of an installation that the service can reach.

    Raises:
        StepError: it could not.
    """
    if wish.live:
        require_prefix(wish.prefix)
    if not wish.files_only:
        python = interpreter()
        require_interpreter(python, Path(sys.base_prefix))
        if python.parent != Path("/usr/bin"):
            _say(f"  the environment is made with {python}, not with the system's /usr/bin/python3")
    return install_steps(wish)


def _say(text: str) -> None:
    """A line for whoever listens; where nobody does any more (``| head``), the work goes on all the same."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/install",
        description="Install edged as a service, or bring an installation up to date. Run it as often as you like: it "
        "changes only what is not yet as it should be, and never settings, keys or engines.",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--uninstall", action="store_true", help="remove it; settings, keys and engines stay")
    parser.add_argument("--start", action="store_true", help="start the service")
    parser.add_argument("--no-enable", action="store_true", help="do not start it at each boot")
    parser.add_argument("--prefix", type=_absolute, default=Path("/opt/edged"), metavar="DIR", help="%(default)s")
    parser.add_argument(
        "--root", type=_absolute, default=Path("/"), metavar="DIR", help="another file system; implies --files-only"
    )
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="install this instead of the source tree")
    parser.add_argument(
        "--extra", metavar="NAME", help="tensorrt-cu12, tensorrt-cu13 or '' (default: what fits the driver)"
    )
    parser.add_argument("--files-only", action="store_true", help="no environment: it is made elsewhere")
    try:
        return parser.parse_args(argv)
    except SystemExit as end:
        sys.exit(64 if end.code else 0)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _farewell(wish: Wish, given: argparse.Namespace, count: int) -> str:
    if given.dry_run:
        return f"{count} step(s) to do; nothing was changed" if count else "nothing to do"
    if given.uninstall:
        return (
            "removed; kept: /etc/edged (settings, keys), /var/lib/edged (engines) and the user edged"
            if count
            else "nothing to remove"
        )
    program = wish.prefix / "venv/bin"
    lines = ["done" if count else "all is as it should be already"]
    if wish.live and not wish.start:
        lines += [
            "next: put your cameras and your model into /etc/edged/edged.toml, then",
            f"  {program}/edged check && {program}/edged doctor",
            f"  systemctl start {UNITS[0].partition('.')[0]}",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
