# SPDX-License-Identifier: Apache-2.0
"""Where predictions go: folders, other instances, who may reach it, keys."""

from __future__ import annotations

import stat

from edged.doctor.check import Check
from edged.doctor.checks.settings import refused
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, skipped, warning
from edged.doctor.situation import Situation
from edged.errors import ConfigError, EndpointInUseError
from edged.stages.publish.address import Endpoint, is_loopback, parse_endpoint
from edged.stages.publish.endpoint import check_endpoint, hold

_DAEMON = "the edged daemon"


def _endpoints_of(situation: Situation) -> list[Endpoint]:
    """What is to be bound.

    Raises:
        ConfigError: one of them is no endpoint.
    """
    return [parse_endpoint(text) for text in situation.settings().publish.bind]


def _readable(situation: Situation) -> list[Endpoint]:
    try:
        return _endpoints_of(situation)
    except ConfigError as error:
        raise SkippedError("an endpoint cannot be read, see endpoints") from error


def _endpoints(situation: Situation) -> Outcome:
    evidence = []
    try:
        for endpoint in _endpoints_of(situation):
            check_endpoint(endpoint, insecure=True)  # who may reach it is another check
            folder = None if endpoint.path is None else endpoint.path.parent
            mode = "" if folder is None else f", folder of mode {stat.S_IMODE(folder.stat().st_mode):04o}"
            evidence.append(f"{endpoint.text}{mode}")
    except ConfigError as error:
        found = refused(error, "correct publish.bind")
        make = "sudo install -d -o edged -g edged -m 0755 /run/edged  # the service makes it at its start"
        return found._replace(remedy=(*found.remedy, make)) if "/run/edged" in str(error) else found
    return ok(", ".join(evidence), evidence)


ENDPOINTS = Check("endpoints", "publish.bind: folders exist and may be written", CONFIGURATION, _endpoints)


def _instance(situation: Situation) -> Outcome:
    http = situation.settings().http.bind
    places = _readable(situation) + ([parse_endpoint(f"tcp://{http}")] if http else [])
    taken: list[EndpointInUseError] = []
    for endpoint in places:
        try:
            hold(endpoint).release()
        except EndpointInUseError as error:
            taken.append(error)
        except ConfigError as error:
            raise SkippedError("an endpoint cannot be used, see endpoints") from error
    if not taken:
        return ok("all free", [endpoint.text for endpoint in places])
    evidence = [str(error) for error in taken]
    ours = any(_DAEMON in error.what for error in taken)
    foreign = [error for error in taken if error.where.startswith("ipc") and _DAEMON not in error.what]
    remedy = ["sudo systemctl stop edged  # or give this instance another publish.bind and http.bind"]
    if foreign:
        path = foreign[0].where.removeprefix("ipc://")
        return problem(f"{foreign[0].where} is in use", evidence, [f"sudo fuser -v {path}  # and end it", *remedy])
    if ours:
        return warning("a daemon runs already; another with these settings would end with 75", evidence, remedy)
    port = taken[0].where.rpartition(":")[2]
    return warning(f"{taken[0].where} is in use", evidence, [f"ss -ltnp 'sport = :{port}'  # tells by whom", *remedy])


INSTANCE = Check("instance", "whether another instance or program holds the endpoints", CONFIGURATION, _instance)


def _exposure(situation: Situation) -> Outcome:
    publish, http = situation.settings().publish, situation.settings().http.bind
    open_ones = [endpoint for endpoint in _readable(situation) if not is_loopback(endpoint)]
    names = ", ".join(endpoint.text for endpoint in open_ones)
    evidence = [f"publish.bind: {', '.join(publish.bind)}", f"http.bind: {http or 'off'}"]
    if open_ones and publish.curve is None:
        remedy = [
            "edged keys create device  # and [publish.curve] secret_key_file, authorized_keys_dir in the settings",
            'or [publish] bind = ["tcp://127.0.0.1:PORT"]',
        ]
        if publish.insecure:
            return warning(f"everybody who reaches {names} gets every prediction", evidence, remedy)
        return problem(f"{names} can be reached from other machines, and nothing protects it", evidence, remedy)
    if http and not is_loopback(parse_endpoint(f"tcp://{http}")):
        remedy = ['[http] bind = "127.0.0.1:9464"  # and a proxy in front of it']
        return warning(f"everybody who reaches {http} can read metrics and health", evidence, remedy)
    return ok("protected by CURVE" if open_ones else "only this machine can reach it", evidence)


EXPOSURE = Check("exposure", "endpoints beyond this machine without protection", CONFIGURATION, _exposure)


def _curve(situation: Situation) -> Outcome:
    curve = situation.settings().publish.curve
    if curve is None:
        return skipped("no [publish.curve]")
    from edged.stages.publish.security import load_server_curve  # loads zmq

    try:
        keys = load_server_curve(curve.secret_key_file, curve.authorized_keys_dir)
    except ConfigError as error:
        return refused(error, "edged keys create device")
    count = len(keys.authorized)
    return ok(
        f"{count} client{'s' * (count != 1)} may subscribe",
        [f"{curve.secret_key_file}: only its owner reads it", f"{curve.authorized_keys_dir}: {count} public keys"],
    )


CURVE = Check("curve", "CURVE keys: file modes, and who is authorised", CONFIGURATION, _curve)
