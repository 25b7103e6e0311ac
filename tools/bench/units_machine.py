# SPDX-License-Identifier: Apache-2.0
"""A machine with a real systemd for as long as it is needed: namespaces, and this file system with a layer on top.

Nothing is downloaded and nothing outside is changed: what is written goes into memory, and is gone with the machine.
Needs root, systemd and cgroup2. What runs there is the service as it is installed; only its virtual environment is made
of this one's packages, because an own one would have to be downloaded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import TracebackType

REPO = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
PREFIX = "/opt/edged"
_BOOT_S = 30.0
_CGROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_MASKED = ("systemd-udevd", "systemd-resolved", "systemd-timesyncd", "systemd-modules-load", "systemd-sysctl")

_SETUP = """\
set -eu
base=$1; root=$1/root; python=$2; site=$3; repo=$4
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/up" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/up,workdir=$base/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind /proc/sys "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
rm -rf "$root/opt/edged" "$root/etc/edged" "$root/var/lib/edged"
for name in python site src; do mkdir -p "$root/opt/edged/$name"; done
mount --bind "$python" "$root/opt/edged/python"
mount --bind "$site" "$root/opt/edged/site"
mount --bind "$repo" "$root/opt/edged/src"
rm -rf "$root"/etc/systemd/system/*.wants
printf '[Unit]\\nWants=systemd-journald.service\\nAfter=systemd-journald.service\\n' \
    > "$root/etc/systemd/system/units.target"
for unit in $5; do ln -sf /dev/null "$root/etc/systemd/system/$unit.service"; done
printf 'uninitialized\\n' > "$root/etc/machine-id"
exec chroot "$root" /usr/bin/env -i container=edged PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=units.target --show-status=0 --log-target=journal
"""


def missing() -> str:
    """Why there can be no machine here; empty where there can."""
    if os.geteuid() != 0:
        return "only root can start one"
    if not SYSTEMD.exists() or shutil.which("nsenter") is None:
        return "systemd or util-linux is not installed"
    return "" if _cgroup() else "there is no cgroup2"


def _cgroup() -> Path | None:
    found = (Path(place) for place in _CGROUPS if Path(place, "cgroup.procs").exists())
    return next((place for place in found if (place / "cgroup.controllers").exists()), None)


class Machine:
    """A booted machine; a context manager.

    Attributes:
        root: its file system, as seen from here.
        boot_s: seconds from its start until systemd said that it is running.
    """

    def __init__(self) -> None:
        place = _cgroup()
        assert place is not None
        self._base = Path(tempfile.mkdtemp(prefix="edged-machine-"))
        self._cgroup = place / self._base.name
        self._cgroup.mkdir()
        base, site = sys.base_prefix, sysconfig.get_path("purelib")
        join = f'echo $$ > "{self._cgroup}/cgroup.procs"; exec "$@"'
        apart = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child"]
        setup = ["sh", "-c", _SETUP, "setup", str(self._base), base, site, str(REPO), " ".join(_MASKED)]
        self._log = (self._base.parent / f"{self._base.name}.log").open("w+b")
        begin = time.monotonic()
        self._outer = subprocess.Popen(
            ["sh", "-c", join, "join", *apart, *setup], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        try:
            self._pid = self._wait_for_boot()
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - begin
        self.root = Path(f"/proc/{self._pid}/root")

    def _wait_for_boot(self) -> int:
        """The process id of its systemd, as seen from here."""
        end = time.monotonic() + _BOOT_S
        while time.monotonic() < end and self._outer.poll() is None:
            pids = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
            if pids and Path(f"/proc/{pids[0]}/comm").read_text().strip() == "systemd":
                self._pid = int(pids[0])
                if self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running":
                    return self._pid
            time.sleep(0.05)
        self._log.seek(0)
        raise RuntimeError(f"systemd does not start here:\n{self._log.read().decode(errors='replace')[-3000:]}")

    def run(self, *words: str, check: bool = True, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in it.

        Raises:
            RuntimeError: it failed, unless ``check`` is off.
        """
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        done = subprocess.run(
            [*enter, "--root", "--wd=/", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    def processes(self, unit: str) -> list[int]:
        """A unit's processes, as seen from here."""
        path = self._cgroup / "system.slice" / unit / "cgroup.procs"
        try:
            return [int(text) for text in path.read_text().split()]
        except FileNotFoundError:
            return []

    def make_version(self, name: str) -> None:
        """A virtual environment for the service below the prefix, of the packages of this one; see the installer."""
        place = self.root / f"opt/edged/versions/{name}"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = place / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        (place / "bin").mkdir()
        (place / "pyvenv.cfg").write_text(f"home = {PREFIX}/python/bin\nversion = {sys.version.split()[0]}\n")
        (place / "bin/python").symlink_to(f"{PREFIX}/python/bin/{version}")
        (packages / "service.pth").write_text(f"{PREFIX}/src\n{PREFIX}/site\n")
        for program, module in (("edged", "edged.cli"), ("edged-build-engine", "edged.engine.cli")):
            script = place / "bin" / program
            script.write_text(
                f"#!{PREFIX}/versions/{name}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
            )
            script.chmod(0o755)

    def use_version(self, name: str) -> None:
        """Switch to another environment in one step, as the installer does."""
        link = self.root / "opt/edged/venv.new"
        link.symlink_to(f"versions/{name}")
        link.rename(self.root / "opt/edged/venv")

    def close(self) -> None:
        """End it with all that runs in it."""
        if self._outer.poll() is None:
            self._outer.send_signal(signal.SIGKILL)
        self._outer.wait()
        self._log.close()
        Path(self._log.name).unlink(missing_ok=True)
        end = time.monotonic() + 5
        while (self._cgroup / "cgroup.events").exists() and time.monotonic() < end:
            if "populated 0" in (self._cgroup / "cgroup.events").read_text():
                break
            time.sleep(0.05)
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            os.rmdir(folder)
        self._base.rmdir()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
