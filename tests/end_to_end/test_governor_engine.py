# SPDX-License-Identifier: Apache-2.0
"""A machine that is too hot: the governor has the smaller engine of the store take over, and gives it back when cool.

The whole daemon with its processes, but the supervisor runs here, so that the sensors can be others than the machine's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.daemon import ASSETS
from support.swapping import store_quicker

from edged.messages import Event, Prediction
from edged.monitor import governed
from edged.monitor.governor import govern, slope
from edged.monitor.governor.state import Bands
from edged.monitor.readings import Reading, Sensor
from edged.runtime import swap
from edged.runtime.launch import ProcessLauncher
from edged.runtime.setup import hold_endpoints, resolve
from edged.runtime.signals import StopSignal
from edged.runtime.supervisor import Supervisor
from edged.settings import Settings
from edged.stages.publish.client import Subscriber

SPEC = ASSETS / "shapes.toml"


class Machine:
    """Sensors of a machine that is so far from its trip point."""

    margin_c = 1.0

    def read(self) -> Reading:
        return Reading(time.monotonic(), (Sensor("gpu-thermal", "margin", self.margin_c, "celsius"),))

    def close(self) -> None:
        pass


class Spectator(threading.Thread):
    """Takes what is published until the engines in use were those awaited and said so, then stops the daemon."""

    def __init__(self, endpoint: str, machine: Machine, stop: StopSignal, awaited: list[str]) -> None:
        super().__init__(name="spectator")
        self._endpoint, self._machine, self._daemon, self._awaited = endpoint, machine, stop, awaited
        self.engines: list[str] = []
        self.ids: list[int] = []
        self.kinds: list[str] = []

    def run(self) -> None:
        end = time.monotonic() + 60
        with Subscriber(self._endpoint, ["v1/predictions/", "v1/event/"]) as subscriber:
            # An event and the first prediction of an engine come in either order.
            while not self._all_came() and time.monotonic() < end:
                received = subscriber.receive(1.0)
                if received is not None:
                    self._take(received.message)
        self._daemon.request()

    def _all_came(self) -> bool:
        swaps = self.kinds.count("engine-swapped")
        return self.engines == self._awaited and swaps == len(self._awaited) - 1

    def _take(self, message: object) -> None:
        if isinstance(message, Event):
            self.kinds.append(message.kind)
        if not isinstance(message, Prediction):
            return
        self.ids.append(message.frame_id)
        if self.engines[-1:] != [message.model.engine]:
            self.engines.append(message.model.engine)
            if len(self.engines) == 2:
                self._machine.margin_c = 40.0


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    request = StopSignal()
    yield request
    request.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the governor minutes takes it seconds."""
    bands = partial(Bands, urgent_dwell_s=0.5, lower_dwell_s=0.5, raise_dwell_s=0.5)
    monkeypatch.setattr(governed, "Bands", bands)
    monkeypatch.setattr(govern, "BUDGET_S", 1.0)
    monkeypatch.setattr(slope, "SHORTEST_S", 1.0)
    monkeypatch.setattr(swap, "_PROBATION_S", 0.5)


def settings_of(folder: Path, **sections: Any) -> Settings:
    return Settings.model_validate(
        {
            "daemon": {"name": "test", "state_dir": folder / "state"},
            "sources": [{"name": "film", "uri": "synthetic://shapes?fps=200", "mode": "lossless", "fps": 200}],
            "model": {"spec": SPEC},
            "engine": {"max_batch": 1, "precision": "fp32"},
            "publish": {"bind": [f"ipc://{folder}/predictions.sock"]},
            "http": {"bind": ""},
            "monitor": {"interval_s": 0.1, "governor": "act"},
            **sections,
        }
    )


def test_heat_has_the_smaller_engine_take_over_and_cooling_the_other(
    short_folder: Path, stop: StopSignal, soon: None
) -> None:
    big, small = store_quicker(short_folder / "state", SPEC, {"fp32": 10.0, "int8": 4.0})
    setup = resolve(settings_of(short_folder))
    machine = Machine()
    spectator = Spectator(setup.settings.publish.bind[0], machine, stop, [big, small, big])
    try:
        hold_endpoints(setup)
        supervisor = Supervisor(setup, ProcessLauncher(), stop, exit_when_done=False)
        supervisor._house.monitoring._open_sensors = lambda: machine
        spectator.start()
        supervisor.run()
    finally:
        stop.request()
        spectator.join(10)
        setup.release()
    assert spectator.engines == [big, small, big]
    assert [kind for kind in spectator.kinds if kind.startswith("engine-")] == ["engine-swapped"] * 2
    assert {"governor-lower", "governor-raise"} <= set(spectator.kinds)
    # Nothing is lost on the way, and nothing comes twice.
    assert all(after == before + 1 for before, after in pairwise(spectator.ids))
