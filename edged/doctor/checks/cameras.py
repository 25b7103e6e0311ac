# SPDX-License-Identifier: Apache-2.0
"""Cameras: devices on this machine, and network cameras' ports."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, ok, problem, skipped
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation
from edged.errors import ConfigError
from edged.stages.capture.redact import redact
from edged.stages.capture.uri import Kind, SourceUri, parse

_CONNECT_S = 2.0
_ALL_S = 6.0
_PORTS = {"rtsp": 554, "rtsps": 322}


class _Fault(NamedTuple):
    what: str
    evidence: list[str]
    remedy: list[str]


def _of_kind(situation: Situation, kind: Kind) -> dict[str, SourceUri]:
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
    sources = _of_kind(situation, "v4l2")
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


def _network_cameras(situation: Situation) -> Outcome:
    sources = _of_kind(situation, "rtsp")
    if not sources:
        return skipped("no rtsp:// source")
    answers = _reach_all({name: _address(uri) for name, uri in sources.items()})
    evidence = [
        f"source {name}: {sources[name].shown}: {answer or 'its port answers'}" for name, answer in answers.items()
    ]
    silent = [f"{name}: {answer}" for name, answer in answers.items() if answer]
    if not silent:
        return ok(f"{len(answers)} answer", evidence)
    host, port = _address(next(uri for name, uri in sources.items() if answers[name]))
    remedy = [redact(f"ping {host}; nc -vz {host} {port}")] if host else []
    return problem(
        "; ".join(silent), evidence, [*remedy, "look at the camera's power, cable and address; correct its uri"]
    )


def _address(uri: SourceUri) -> tuple[str, int]:
    """Host and port; no host where what looks like one may be part of a password."""
    parts = urlsplit(uri.target)
    certain = "@" not in uri.target.partition(parts.netloc)[2]
    return parts.hostname or "" if certain else "", parts.port or _PORTS.get(parts.scheme.lower(), 554)


def _reach_all(addresses: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Connect to all at once; why each cannot be reached, empty where it can. A name server may hang: threads wait."""
    answers = {name: f"no answer within {_ALL_S:g} s" for name in addresses}

    def reach(name: str) -> None:
        answers[name] = _reach(*addresses[name])

    threads = [threading.Thread(target=reach, args=(name,), daemon=True) for name in addresses]
    for thread in threads:
        thread.start()
    left = _ALL_S
    for thread in threads:
        thread.join(left)
        left = left if not thread.is_alive() else 0.0
    return dict(answers)


def _reach(host: str, port: int) -> str:
    if not host:
        return "if the password holds / ? or @, write these percent-encoded"
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except socket.gaierror:
        return f"the host name {host} is not known"
    except TimeoutError:
        return f"{host}:{port} does not answer within {_CONNECT_S:g} s"
    except OSError as error:
        return f"cannot connect to {host}:{port}: {(error.strerror or str(error)).lower()}"
    return ""


NETWORK_CAMERAS = Check(
    "network-cameras", "ports of rtsp:// sources, by connecting to them", CONFIGURATION, _network_cameras, 12.0
)
