# SPDX-License-Identifier: Apache-2.0
"""``edged doctor``."""

from __future__ import annotations

import platform
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from edged import __version__
from edged.doctor.check import Check
from edged.doctor.finding import Finding, Report, counts, exit_code
from edged.doctor.machine import Machine
from edged.doctor.registry import CHECKS
from edged.doctor.run import findings
from edged.doctor.show import show_finding, show_summary
from edged.doctor.situation import Situation
from edged.errors import UsageError
from edged.problems import closest, printable

DEFAULT_CONFIG = "/etc/edged/edged.toml"


def run_doctor(given: Namespace, environ: Mapping[str, str], show: Callable[[str], None]) -> int:
    """Examine the machine and the settings.

    Args:
        given: ``config``, ``json``, ``only``, ``root`` and ``overrides`` of the command line.
        environ: environment variables.
        show: prints, for ``--json``.

    Returns:
        0 without a problem; 78 with one of configuration; else 69.

    Raises:
        UsageError: a check or a flag that does not exist, or settings without a file to override.
    """
    checks = chosen(given.only)
    machine = Machine(root=given.root, environ=environ)
    config = _config(given.config, machine)
    if config is None and given.overrides:
        raise UsageError(
            f"there is no {DEFAULT_CONFIG} whose settings flags could override",
            where="edged doctor",
            remedy="give --config FILE, too",
        )
    situation = Situation(machine, config, overrides=given.overrides)
    console = None if given.json else Console(emoji=False, markup=False)
    found: list[Finding] = []
    for finding in findings(checks, situation):
        found.append(finding)
        if console is not None:
            show_finding(console, finding)
    if console is not None:
        show_summary(console, counts(found))
    else:
        show(msgspec.json.encode(report(situation, found)).decode())
    return exit_code(found)


def chosen(only: str | None, checks: Sequence[Check] = CHECKS) -> list[Check]:
    """The checks that were asked for, in their own order; all where none was named.

    Raises:
        UsageError: there is none of this name.
    """
    if only is None:
        return list(checks)
    known = {check.name for check in checks}
    names = {name.strip() for name in only.split(",") if name.strip()}
    for name in sorted(names - known):
        match = closest(name, sorted(known))
        remedy = f"did you mean {match}?" if match else f"there are {', '.join(sorted(known))}"
        raise UsageError(f"unknown check {printable(name)}", where="edged doctor --only", remedy=remedy)
    if not names:
        raise UsageError("no check is named", where="edged doctor --only", remedy="write --only driver,engine")
    return [check for check in checks if check.name in names]


def report(situation: Situation, found: Sequence[Finding]) -> Report:
    """The findings as one object."""
    machine = situation.machine
    return Report(
        at=time.time(),
        version=__version__,
        machine={
            "kernel": machine.text("/proc/sys/kernel/osrelease") or "unknown",
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "gpu": machine.hardware(),
        },
        config=None if situation.config is None else str(situation.config),
        exit_code=exit_code(found),
        counts=counts(found),
        checks=tuple(found),
    )


def _config(given: Path | None, machine: Machine) -> Path | None:
    """The file that was named, which has to be there, or the usual one, which need not."""
    usual = machine.at(DEFAULT_CONFIG)
    if given is not None:
        return given
    return usual if usual.exists() else None
