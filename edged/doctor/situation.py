# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: the machine, the settings, and what libraries said when they were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edged.config import Settings, load
from edged.doctor.apart import Answer, ask
from edged.doctor.finding import SkippedError
from edged.doctor.machine import Machine
from edged.errors import ConfigError, EdgedError
from edged.model import ModelSpec
from edged.model_file import load_spec


@dataclass
class Situation:
    """One examination.

    Attributes:
        machine: where to look.
        config: the settings file; None for none.
        overrides: flags ``--section.key value`` over the file.
        probe_limit_s: how long a library may take to answer, seconds.
    """

    machine: Machine
    config: Path | None = None
    probe_limit_s: float = 45.0
    overrides: Sequence[str] = ()
    refusal: EdgedError | None = field(default=None, init=False)
    _settings: Settings | None = field(default=None, init=False)
    _answers: dict[str, Answer] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.config is None:
            return
        try:
            self._settings = load(self.config, self.overrides, self.machine.environ).settings
        except ConfigError as error:
            self.refusal = error

    @property
    def known_settings(self) -> Settings | None:
        """The settings, if there are any that can be read."""
        return self._settings

    def settings(self) -> Settings:
        """The settings.

        Raises:
            SkippedError: there are none.
        """
        if self._settings is None:
            raise SkippedError("the settings cannot be read" if self.refusal else "no settings: give --config FILE")
        return self._settings

    def spec(self) -> ModelSpec:
        """The model spec.

        Raises:
            SkippedError: there is none, or it is wrong.
        """
        try:
            return load_spec(self.settings().model.spec)
        except ConfigError as error:
            raise SkippedError("the model spec cannot be read") from error

    def need_gpu(self) -> None:
        """Go on only where there is an NVIDIA GPU that may be used.

        Raises:
            SkippedError: there is none, or the settings do without.
        """
        settings = self.known_settings
        if settings is not None and settings.engine.backend == "onnxruntime":
            raise SkippedError('engine.backend is "onnxruntime"')
        if self.machine.hardware() == "none":
            raise SkippedError("no NVIDIA GPU: ONNX Runtime runs the model")

    def need(self, hardware: str, what: str) -> None:
        """Go on only on one kind of hardware.

        Raises:
            SkippedError: it is another.
        """
        if self.machine.hardware() != hardware:
            raise SkippedError(what)

    @property
    def device(self) -> int:
        """The GPU's number."""
        return 0 if self.known_settings is None else self.known_settings.engine.device

    def ask(self, probe: str, **request: Any) -> Answer:
        """Ask a library in a child process, once: later checks get the same answer."""
        if probe not in self._answers:
            self._answers[probe] = ask(probe, request, self.machine.environ, self.probe_limit_s)
        return self._answers[probe]
