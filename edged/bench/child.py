# SPDX-License-Identifier: Apache-2.0
"""A real ``edged run`` as a child process, and a subscriber that watches it; nothing of it outlives the bench."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from edged.errors import ConfigError, DeviceUnavailableError, EdgedError, InternalError, RestartWantedError
from edged.messages import Message, Prediction, Stats
from edged.rig.rounds import Stop
from edged.stages.publish.client import Subscriber

TOPICS = ("v1/predictions/", "v1/stats/", "v1/health/")
START_S = 120.0
_END_S = 10.0
_LOOK_S = 0.2
_KEPT = 100_000
_PREFIX = "edged: "
_BY_CODE: dict[int, type[EdgedError]] = {69: DeviceUnavailableError, 75: RestartWantedError, 78: ConfigError}


class Child:
    """One daemon in a folder of its own, whose path is short enough for a socket; ends with the block.

    Args:
        text: makes the settings file, given the endpoint and the folder.
        stop: whether to end now.
        topics: what to subscribe to; predictions must be among it, since their first subscriber starts the sources.
    """

    def __init__(self, text: Callable[[str, Path], str], stop: Stop, topics: Sequence[str] = TOPICS) -> None:
        self._stop = stop
        # Only its owner may read it: sources may hold credentials.
        self._folder = Path(tempfile.mkdtemp(prefix="edged-bench-", dir="/tmp"))
        self._log = self._folder / "log.txt"
        endpoint = f"ipc://{self._folder}/predictions.sock"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            config = self._folder / "edged.toml"
            config.write_text(text(endpoint, self._folder), encoding="utf-8")
            command = [sys.executable, "-m", "edged.bench.tied", str(os.getpid()), "run", "--config", str(config)]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
            with self._log.open("ab") as log:
                # A session of its own: Ctrl-C is the bench's, which ends the daemon itself.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            self.subscriber = Subscriber(endpoint, topics, hwm=_KEPT)
        except BaseException:
            self._destroy()
            raise

    def first(self) -> Prediction | None:
        """The first prediction; None where a stop was asked for.

        Raises:
            EdgedError: the daemon ended, or nothing came in time.
        """
        end = time.monotonic() + START_S
        while not self._stop():
            message = self.next(_LOOK_S)
            if isinstance(message, Prediction):
                return message
            if time.monotonic() > end:
                raise InternalError(f"the daemon published nothing within {START_S:g} s", remedy=self._last_line())
        return None

    def stats(self) -> Stats | None:
        """The next statistics; None where a stop was asked for, or none came within 5 s."""
        end = time.monotonic() + 5.0
        while not self._stop() and time.monotonic() < end:
            message = self.next(_LOOK_S)
            if isinstance(message, Stats):
                return message
        return None

    def messages(self, seconds: float) -> list[Message]:
        """All messages of a time, or until a stop is asked for."""
        found: list[Message] = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stop():
            message = self.next(min(left, _LOOK_S))
            if message is not None:
                found.append(message)
        return found

    def next(self, timeout_s: float) -> Message | None:
        """The next message.

        Raises:
            EdgedError: the daemon has ended.
        """
        received = self.subscriber.receive(timeout_s)
        if received is not None:
            return received.message
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise self._ended(code)
        return None

    def _ended(self, code: int) -> EdgedError:
        line = self._last_line()
        kind = _BY_CODE.get(code, InternalError)
        return kind(f"the daemon ended with {code}", where="edged run", remedy=line)

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        own = [line.removeprefix(_PREFIX) for line in lines if line.startswith(_PREFIX)]
        return (own or lines or ["it said nothing"])[-1]

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.subscriber.close()
        self._destroy()

    def _destroy(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                # Its own children die with it.
                process.kill()
                process.wait(_END_S)
        shutil.rmtree(self._folder, ignore_errors=True)
