# SPDX-License-Identifier: Apache-2.0
"""``engine.build = "on-start"``: a daemon without a valid engine has it built before it starts its family.

The look at the store and at the GPU, and the build, are the building child's: the supervisor never loads ONNX or CUDA.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edged.runtime.setup import Setup
from edged.runtime.signals import StopSignal

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
    if setup.settings.engine.build == "never":
        return True
    # Only now: most daemons build nothing.
    from msgspec.structs import replace

    from edged.engine.process import BuildStoppedError, run_build
    from edged.engine.protocol import Event, Failed, Note, Phase, Serving, Step
    from edged.engine.request import request_of

    settings, report = setup.settings, BuildReport(on_tick=on_tick)

    def tell(event: Event) -> None:
        if isinstance(event, Phase):
            report.phase(event.name)
        elif isinstance(event, Step) and not event.parent:
            report.step(event.task, event.done, event.total)
        elif isinstance(event, Note):
            _LOG.info("the build says: %s", event.text)
        elif isinstance(event, Failed):
            _LOG.debug("building: %s", event.traceback)

    request = request_of(settings, settings.model.spec)
    request = replace(request, serving=Serving(max_batch=settings.engine.max_batch))
    try:
        done = run_build(request, tell, stop, on_tick=report.tick)
    except BuildStoppedError:
        _LOG.info("stopped while building after %.1f s; the engines are as they were", report.elapsed_s)
        return False
    if done.built:
        _LOG.info("the engine was built in %.1f s: %s", report.elapsed_s, done.folder)
    return True


class BuildReport:
    """Tells in the log how a build goes: a line for each phase, and one every ten seconds of a long one.

    Args:
        clock: seconds.
        on_tick: told at every `tick` how far the build is.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_tick: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._clock = clock
        self._on_tick = on_tick
        self._start = self._said = clock()
        self._phase = ""
        self._step = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

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
        _LOG.info("starting, %.1f s: %s%s", self.elapsed_s, self._phase, self._step)
