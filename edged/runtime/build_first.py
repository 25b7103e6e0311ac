# SPDX-License-Identifier: Apache-2.0
"""``engine.build = "on-start"``: a daemon without a valid engine has it built before it starts its family.

The look at the store and at the GPU, and the build, are the building child's: the supervisor never loads ONNX or CUDA.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edged.runtime.setup import Setup
from edged.runtime.signals import StopSignal

if TYPE_CHECKING:
    from edged.engine.protocol import BuildRequest, Event
    from edged.settings import Settings

_LOG = logging.getLogger("edged")
_REMIND_S = 10.0


def build_first(setup: Setup, stop: StopSignal, *, on_tick: Callable[[str], None] = lambda _text: None) -> bool:
    """Have the engine built if the settings say so and there is none that is valid here.

    Call it from the main thread and with the endpoints held, so that no second instance comes to build.

    Args:
        setup: from the settings.
        stop: the request to stop.
        on_tick: told several times a second, while the building process lives, how far it is.

    Returns:
        Whether to go on; False where a stop was asked for meanwhile. The store is as it was then.

    Raises:
        EdgedError: what kept the engine from being built, with its exit code.
    """
    if setup.settings.engine.build != "on-start":
        return True
    # Only now: most daemons build nothing.
    from edged.engine.process import BuildStoppedError, run_build

    report = BuildReport(on_tick=on_tick)
    try:
        done = run_build(serving_request(setup.settings), report.tell, stop, on_tick=report.tick)
    except BuildStoppedError:
        _LOG.info("stopped while building after %.1f s; the engines are as they were", report.elapsed_s)
        return False
    if done.built:
        _LOG.info("the engine was built in %.1f s: %s", report.elapsed_s, done.folder)
    return True


def serving_request(settings: Settings) -> BuildRequest:
    """The engine that a daemon with these settings wants to have, where it has none that is valid."""
    from msgspec.structs import replace

    from edged.engine.protocol import Serving
    from edged.engine.request import request_of

    request = request_of(settings, settings.model.spec)
    return replace(request, serving=Serving(max_batch=settings.engine.max_batch))


class BuildReport:
    """Tells in the log how a build goes: a line for each phase, and one every ten seconds of a long one.

    Args:
        clock: seconds.
        on_tick: told at every `tick` how far the build is.
        doing: what the daemon does meanwhile.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_tick: Callable[[str], None] = lambda _text: None,
        doing: str = "starting",
    ) -> None:
        self._clock = clock
        self._on_tick = on_tick
        self._doing = doing
        self._start = self._said = clock()
        self._phase = ""
        self._step = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def tell(self, event: Event) -> None:
        """Take what the build has to say."""
        from edged.engine.protocol import Failed, Note, Phase, Step

        if isinstance(event, Phase):
            self.phase(event.name)
        elif isinstance(event, Step) and not event.parent:
            self.step(event.task, event.done, event.total)
        elif isinstance(event, Note):
            _LOG.info("the build says: %s", event.text)
        elif isinstance(event, Failed):
            _LOG.debug("building: %s", event.traceback)

    def phase(self, name: str) -> None:
        """A new part of the work has begun."""
        self._phase, self._step = name, ""
        self._say()

    def step(self, task: str, done: int, total: int) -> None:
        """How far the builder is in one of its tasks; a total of 0 ends the task."""
        self._step = f" ({task}, {done} of {total})" if total else ""

    def tick(self) -> None:
        """Look whether there is something to repeat; call it often."""
        self._on_tick(f"building the engine: {self._phase}{self._step}" if self._phase else "building the engine")
        if self._phase and self._clock() - self._said >= _REMIND_S:
            self._say()

    def _say(self) -> None:
        self._said = self._clock()
        _LOG.info("%s, %.1f s: %s%s", self._doing, self.elapsed_s, self._phase, self._step)
