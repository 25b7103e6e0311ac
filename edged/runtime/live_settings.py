# SPDX-License-Identifier: Apache-2.0
"""What a daemon that runs makes of other settings: some apply at once, the rest is named as needing a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edged.runtime.setup import Setup, SourceSetup, resolve

if TYPE_CHECKING:
    from edged.model import ModelSpec
    from edged.settings import Settings

_SPEC = "the model spec"


class Outcome(NamedTuple):
    """What came of a reload.

    Attributes:
        applied: what changed at once, a clause each.
        restart: what needs a restart: dotted keys, and keys of the model spec.
    """

    applied: list[str]
    restart: list[str]

    @property
    def text(self) -> str:
        """Both in a clause for the log."""
        parts = [*self.applied]
        if self.restart:
            parts.append(f"a restart is needed for {', '.join(self.restart)}")
        return "; ".join(parts) or "nothing has changed"


class Hands(NamedTuple):
    """What changes a part of the daemon that runs.

    Attributes:
        sources: takes all sources that there shall be; says what that comes to.
        reading: the setup's spec has other thresholds.
        http: takes another address for HTTP.
        monitor: takes other settings of the monitor; tells which keys it cannot apply.
    """

    sources: Callable[[Sequence[SourceSetup]], list[str]]
    reading: Callable[[], None]
    http: Callable[[str], None]
    monitor: Callable[[Any], Sequence[str]]


class LiveSettings:
    """Turns a daemon's settings into others as far as that goes while it runs.

    Args:
        setup: of the daemon; kept up to date with what was applied.
        hands: change its parts.
    """

    def __init__(self, setup: Setup, hands: Hands) -> None:
        self._setup = setup
        self._hands = hands

    def apply(self, settings: Settings) -> Outcome:
        """Apply what can be applied.

        Args:
            settings: as loaded again.

        Raises:
            EdgedError: they are wrong; nothing was changed.
        """
        new, setup = resolve(settings), self._setup
        changed = differences(setup.settings.model_dump(), settings.model_dump())
        outcome = Outcome([], [])
        update: dict[str, Any] = {}
        self._take_log_level(settings, changed, update, outcome)
        self._take_monitor(settings, changed, update, outcome)
        if "http.bind" in changed:
            changed.remove("http.bind")
            update["http"] = settings.http
            self._hands.http(settings.http.bind)
            outcome.applied.append(f"HTTP is at {settings.http.bind}" if settings.http.bind else "HTTP is off")
        if "sources" in changed:
            changed.remove("sources")
            update["sources"] = settings.sources
            outcome.applied.extend(self._hands.sources(new.sources) or ["the sources stand in another order"])
        if "model.spec" not in changed:
            self._take_spec(new.spec, outcome)
        setup.settings = setup.settings.model_copy(update=update)
        outcome.restart.extend(changed)
        return outcome

    def _take_log_level(self, settings: Settings, changed: list[str], update: dict[str, Any], outcome: Outcome) -> None:
        if "daemon.log_level" not in changed:
            return
        changed.remove("daemon.log_level")
        level = settings.daemon.log_level
        logging.getLogger("edged").setLevel(level.upper())
        update["daemon"] = self._setup.settings.daemon.model_copy(update={"log_level": level})
        outcome.applied.append(f"the log level is {level} now")

    def _take_monitor(self, settings: Settings, changed: list[str], update: dict[str, Any], outcome: Outcome) -> None:
        mine = [key for key in changed if key.startswith("monitor.")]
        if not mine:
            return
        refused = set(self._hands.monitor(settings.monitor))
        taken = [key for key in mine if key not in refused]
        for key in taken:
            changed.remove(key)
            outcome.applied.append(f"{key} has changed")
        values = {key.partition(".")[2]: getattr(settings.monitor, key.partition(".")[2]) for key in taken}
        update["monitor"] = self._setup.settings.monitor.model_copy(update=values)

    def _take_spec(self, spec: ModelSpec, outcome: Outcome) -> None:
        old = self._setup.spec
        live = old.live_fields()
        for key in differences(old.model_dump(mode="json"), spec.model_dump(mode="json")):
            section, _, name = key.partition(".")
            if section == "output" and name in live:
                outcome.applied.append(f"{name} is {getattr(spec.output, name):g} now")
            else:
                outcome.restart.append(f"{key} of {_SPEC}")
        if spec.output != old.output:
            values = {name: getattr(spec.output, name) for name in live}
            self._setup.spec = old.model_copy(update={"output": old.output.model_copy(update=values)})
            self._hands.reading()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys that differ, in order; never their values, which may be secret."""
    found: list[str] = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}")
    return found
