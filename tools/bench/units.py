# SPDX-License-Identifier: Apache-2.0
"""The service under a real systemd: start, reload, stop, watchdog, replacements, crash loop, dead camera, upgrade.

    sudo python -m tools.bench.units

Boots a machine of its own for that, see `tools.bench.units_machine`; the units, the users and the folders in it are
those that ``tools/install`` makes, sandbox included.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from tools.bench import harness
from tools.bench.report import Report
from tools.bench.units_machine import Machine, missing
from tools.bench.units_service import BUILD, NORTH, SOUTH, UNIT, Service

_WATCHDOG_S = 5.0
_ROLES = ("capture", "infer", "publish")
_MOST_S = {"capture": 2.0, "infer": 5.0, "publish": 2.0}
_KILLS = 8


def _start(report: Report, service: Service) -> None:
    begin = time.monotonic()
    code, took = service.systemctl("start", UNIT, check=False)
    report.add("start: exit code of systemctl", code, at_most=0)
    report.add("start: until ready", took, "s", at_most=10.0)
    report.add("start: until the first prediction", service.await_prediction(begin), "s", at_most=10.0)
    service.listen(1.5)
    status = service.show("StatusText")
    print(f"status line: {status}")
    report.add("start: status line says what is live", int("2 of 2 sources live" in status), at_least=1)
    fields = [entry for entry in service.journal() if "EDGED_EVENT" in entry]
    report.add("journal: entries with fields", len(fields), at_least=1)
    report.add("journal: tracebacks", sum("Traceback" in str(it.get("MESSAGE")) for it in service.journal()), at_most=0)


def _sandbox(report: Report, service: Service) -> None:
    """What it may, and who may talk to it."""
    machine = service.machine
    for unit in (UNIT, BUILD):
        words = machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout.split()
        report.add(f"sandbox: exposure of {unit}", float(words[words.index("level") + 3]), at_most=2.0)
    mode = machine.run("stat", "-c", "%a %U %G", "/run/edged/predictions.sock").stdout.split()
    report.add("socket: mode 660 of edged:edged", int(mode == ["660", "edged", "edged"]), at_least=1)
    connect = "import socket, sys; sys.exit(socket.socket(socket.AF_UNIX).connect_ex('/run/edged/predictions.sock'))"
    python = ["env", "LD_LIBRARY_PATH=/opt/edged/python/lib", "/opt/edged/venv/bin/python", "-c", connect]
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    member = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=edged"]
    report.add("socket: errno for a stranger", machine.run(*stranger, *python, check=False).returncode, at_least=13)
    report.add("socket: errno for a member", machine.run(*member, *python, check=False).returncode, at_most=0)


def _reload(report: Report, service: Service) -> None:
    begin = time.monotonic()
    service.configure(daemon={"log_level": "debug"})
    code, _ = service.systemctl("reload", UNIT, check=False)
    good = service.await_event("reloaded", 1)
    service.configure(engine={"max_batch": 0})
    bad_code, _ = service.systemctl("reload", UNIT, check=False)
    bad = service.await_event("reload-refused", 1)
    service.configure()
    service.systemctl("reload", UNIT)
    service.await_event("reloaded", 2)
    service.listen(1.0)
    report.add("reload: applied, and exit code 0", int(good and code == 0), at_least=1)
    report.add("reload: a wrong file is refused in an event", int(bad and bad_code == 0), at_least=1)
    report.add("reload: longest gap between predictions", service.longest_gap_s(begin, "north"), "s", at_most=0.5)
    report.add("reload: still the same process", int(service.show("NRestarts") == "0"), at_least=1)


def _replacements(report: Report, service: Service) -> None:
    for role in _ROLES:
        for name, number in (("killed", signal.SIGKILL), ("hung", signal.SIGSTOP)):
            (pid,) = service.children(role, "north" if role == "capture" else "")
            service.listen(1.0)
            begin = time.monotonic()
            os.kill(pid, number)
            service.listen(0.2)
            # What had been published before the kill took effect does not count.
            service.await_prediction(begin + 0.2)
            service.listen(_MOST_S[role] + 1)
            took = service.longest_gap_s(begin - 0.2, "north")
            report.add(f"{role} {name}: predictions resume", took, "s", at_most=_MOST_S[role])
            if number == signal.SIGSTOP:
                report.add(f"{role} {name}: process replaced", int(pid not in service.children(role)), at_least=1)
    report.add("replacements: restarts of the service", float(service.show("NRestarts")), at_most=0)


def _watchdog(report: Report, service: Service) -> None:
    """A supervisor that hangs."""
    boot, restarts = service.boot, int(service.show("NRestarts"))
    begin = time.monotonic()
    os.kill(service.supervisor(), signal.SIGSTOP)
    took = service.await_prediction(begin, not_boot=boot)
    report.add(f"watchdog of {_WATCHDOG_S:g} s, supervisor hung: new boot publishes", took, "s", at_most=20.0)
    report.add("watchdog: restarts", int(service.show("NRestarts")) - restarts, at_least=1, at_most=1)
    texts = [str(entry.get("MESSAGE")) for entry in service.journal()]
    report.add("watchdog: systemd says so", sum("Watchdog timeout" in text for text in texts), at_least=1)
    report.add("watchdog: lines of stacks in the journal", sum('  File "' in text for text in texts), at_least=1)


def _crash_loop(report: Report, service: Service) -> None:
    """Killed again and again, each time as soon as it is there: it comes back for ever."""
    restarts, boot = int(service.show("NRestarts")), service.boot
    states = set()
    for _ in range(_KILLS):
        end = time.monotonic() + 20
        while not (pid := service.supervisor()) and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        states.add(service.show("ActiveState"))
    begin = time.monotonic()
    took = service.await_prediction(begin, not_boot=boot)
    report.add(f"crash loop of {_KILLS}: ever given up", int("failed" in states), at_most=0)
    report.add("crash loop: restarts", int(service.show("NRestarts")) - restarts, at_least=_KILLS)
    report.add("crash loop: predictions after the last one", took, "s", at_most=10.0)


def _wrong_settings(report: Report, service: Service) -> None:
    service.systemctl("stop", UNIT)
    service.configure(engine={"device": -1})
    begin = time.monotonic()
    code, _ = service.systemctl("start", UNIT, check=False)
    time.sleep(3.0)
    report.add("wrong settings: exit code of systemctl start", code, at_least=1)
    report.add("wrong settings: exit code of the daemon", int(service.show("ExecMainStatus")), at_least=78, at_most=78)
    report.add("wrong settings: not tried again", int(service.show("ActiveState") == "failed"), at_least=1)
    said = [str(it.get("MESSAGE")) for it in service.journal(f"--since=-{time.monotonic() - begin + 1:.0f}s")]
    report.add("wrong settings: the key stands in the journal", int("engine.device" in "\n".join(said)), at_least=1)
    print(f"status line: {service.show('StatusText')}")
    service.configure()


def _dead_camera(report: Report, service: Service) -> None:
    """A camera that does not answer, and one that is not there, do not fail the boot."""
    dead = [{"name": "gate", "uri": "rtsp://127.0.0.1:9/stream"}, {"name": "desk", "uri": "v4l2:///dev/video250"}]
    service.configure([NORTH, *dead])
    begin = time.monotonic()
    code, took = service.systemctl("start", UNIT, check=False)
    report.add("dead cameras: exit code of systemctl start", code, at_most=0)
    report.add("dead cameras: until ready", took, "s", at_most=10.0)
    report.add("dead cameras: first prediction of the other", service.await_prediction(begin), "s", at_most=10.0)
    service.listen(2.5)
    print(f"status line: {service.show('StatusText')}")
    assert service.health is not None
    report.add("dead cameras: health says degraded", int(service.health.state == "degraded"), at_least=1)
    service.configure([NORTH, SOUTH])
    service.systemctl("restart", UNIT)


def _niceness(pid: int) -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except ProcessLookupError:
        return -20


def _serve_while_building(report: Report, service: Service) -> None:
    """An empty store: served at once, and by the engine asked for once a child of low priority has built it."""
    service.systemctl("stop", UNIT)
    service.machine.run("sh", "-c", "rm -rf /var/lib/edged/*")
    service.install_tiny()
    engine = {"backend": "onnxruntime", "precision": "int8", "build": "serve-while-building"}
    service.configure(model={"spec": "models/tiny.toml"}, engine=engine)
    begin = time.monotonic()
    service.systemctl("start", UNIT)
    report.add("empty store: first prediction", service.await_prediction(begin), "s", at_most=10.0)
    swapped, niceness = False, -20
    while not swapped and time.monotonic() < begin + 60:
        niceness = max(niceness, *map(_niceness, service.children("build")), -20)
        swapped = service.await_event("engine-swapped", 1, 0.2)
    report.add("empty store: niceness of who builds", niceness, at_least=19)
    report.add("empty store: until the engine is swapped in", time.monotonic() - begin, "s", at_most=60.0)
    report.add("empty store: swapped", int(swapped), at_least=1)
    service.configure()


def _upgrade(report: Report, service: Service) -> None:
    """A build before the start, then another version: engine and settings stay."""
    machine = service.machine
    service.systemctl("stop", UNIT)
    code, took = service.systemctl("start", BUILD, check=False)
    report.add("build unit: exit code", code, at_most=0)
    report.add("build unit: took", took, "s")
    service.configure([NORTH, SOUTH], daemon={"log_level": "info"})
    service.systemctl("start", UNIT)
    service.listen(2.5)
    before = service.health
    digest = "find /var/lib/edged/engines /etc/edged -type f -exec sha256sum {} + | sort | sha256sum"
    sums = machine.run("sh", "-c", digest).stdout
    machine.make_version("two")
    machine.use_version("two")
    said = service.install()
    machine.run("systemctl", "daemon-reload")
    boot, begin = service.boot, time.monotonic()
    service.systemctl("restart", UNIT)
    report.add("upgrade: until a new boot publishes", service.await_prediction(begin, not_boot=boot), "s", at_most=10.0)
    service.listen(2.5)
    report.add("upgrade: installer has nothing to do", int("all is as it should be" in said), at_least=1)
    report.add(
        "upgrade: engines and settings as before", int(machine.run("sh", "-c", digest).stdout == sums), at_least=1
    )
    after = service.health
    same = before is not None and after is not None and before.engine == after.engine and after.engine is not None
    report.add("upgrade: same engine", int(same), at_least=1)


def _stop(report: Report, service: Service) -> None:
    times = []
    for _ in range(3):
        times.append(service.systemctl("stop", UNIT)[1])
        report.add("stop: result is success", int(service.show("Result") == "success"), at_least=1)
        report.add("stop: processes left", len(service.machine.processes(UNIT)), at_most=0)
        service.systemctl("start", UNIT)
    report.add("stop: slowest of three", max(times), "s", at_most=2.0)
    service.systemctl("stop", UNIT)
    report.add("stop: socket left", int((service.machine.root / "run/edged").exists()), at_most=0)


TRIALS: tuple[Callable[[Report, Service], None], ...] = (
    _start,
    _sandbox,
    _reload,
    _replacements,
    _watchdog,
    _crash_loop,
    _wrong_settings,
    _dead_camera,
    _serve_while_building,
    _upgrade,
    _stop,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = harness.arguments_of("The service under a real systemd, in a machine of its own.")
    parser.add_argument("--journal", action="store_true", help="print the unit's journal in the end")
    arguments = parser.parse_args(argv)
    if missing():
        sys.exit(f"tools.bench.units: {missing()}")
    report = Report("units", arguments)
    with Machine() as machine:
        report.add("machine: booted", machine.boot_s, "s")
        service = Service(machine, _WATCHDOG_S)
        try:
            for trial in TRIALS:
                print(f"… {trial.__name__.strip('_')}", flush=True)
                trial(report, service)
        finally:
            if arguments.journal:
                print(machine.run("journalctl", "--no-pager", "-u", UNIT).stdout)
            service.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
