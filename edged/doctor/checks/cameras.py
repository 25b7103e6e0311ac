# SPDX-License-Identifier: Apache-2.0
"""Cameras that are devices of this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, ok, problem, skipped
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation
from edged.errors import ConfigError
from edged.stages.capture.uri import Kind, SourceUri, parse


class _Fault(NamedTuple):
    what: str
    evidence: list[str]
    remedy: list[str]


def of_kind(situation: Situation, kind: Kind) -> dict[str, SourceUri]:
    """Configured sources of a kind by name; those with a broken URI are a finding of the check "sources"."""
    found = {}
    for source in situation.settings().sources:
        try:
            uri = parse(source.uri.get_secret_value())
        except ConfigError:
            continue
        if uri.kind == kind:
            found[source.name] = uri
    return found


def _capture_devices(situation: Situation) -> Outcome:
    sources = of_kind(situation, "v4l2")
    if not sources:
        return skipped("no v4l2:// source")
    machine = situation.machine
    evidence: list[str] = []
    faults: list[str] = []
    remedy: list[str] = []
    for name, uri in sources.items():
        fault = _device_fault(machine, uri.target)
        if fault is None:
            evidence.append(f"source {name}: {uri.target}: {_description(machine, uri.target)}")
        else:
            faults.append(f"source {name}: {fault.what}")
            evidence += fault.evidence
            remedy += [step for step in fault.remedy if step not in remedy]
    if faults:
        return problem("; ".join(faults), evidence, remedy)
    return ok("; ".join(evidence), evidence)


def _device_fault(machine: Machine, target: str) -> _Fault | None:
    device = machine.at(target)
    others = [machine.shown(node) for node in machine.glob("/dev/video*")]
    there = f"there are {', '.join(others)}" if others else "there is no /dev/video*"
    if not device.exists():
        return _Fault(
            f"there is no {target}",
            [f"{target} does not exist; {there}"],
            ["v4l2-ctl --list-devices  # and correct the uri; sudo dmesg | grep -i uvc"],
        )
    if not machine.may(device, os.R_OK | os.W_OK):
        mode = device.stat().st_mode & 0o777
        return _Fault(
            f"this user may not use {target}",
            [f"{target}: mode {mode:04o}, gid {device.stat().st_gid}"],
            ["sudo usermod -aG video edged && sudo systemctl restart edged"],
        )
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        busy = error.errno == errno.EBUSY
        return _Fault(
            f"{target} {'is in use' if busy else 'cannot be opened'}",
            [f"opening {target}: {os.strerror(error.errno or 0)}"],
            [f"sudo fuser -v {target}  # and end what holds it" if busy else "unplug the camera and plug it in again"],
        )
    if _capabilities(machine, target) == ":":
        return _Fault(
            f"{target} gives no pictures (a node for metadata)",
            [f"udev: {target} has no capability to capture; {there}"],
            ["v4l2-ctl --list-devices  # and take the camera's first node"],
        )
    return None


def _node(machine: Machine, target: str) -> str:
    """The kernel's name of a device: ``/dev/v4l/by-id/…`` are links."""
    return Path(os.path.realpath(machine.at(target))).name


def _capabilities(machine: Machine, target: str) -> str | None:
    """What udev found out about a device, for example ``:capture:``; None where it does not say."""
    number = machine.text(f"/sys/class/video4linux/{_node(machine, target)}/dev")
    for line in (machine.text(f"/run/udev/data/c{number}") or "").splitlines():
        if line.startswith("E:ID_V4L_CAPABILITIES="):
            return line.partition("=")[2]
    return None


def _description(machine: Machine, target: str) -> str:
    name = machine.text(f"/sys/class/video4linux/{_node(machine, target)}/name") or "a device"
    return f"{name}, can be opened"


CAPTURE_DEVICES = Check(
    "capture-devices", "cameras of v4l2:// sources: there, may be used, can be opened", CONFIGURATION, _capture_devices
)
