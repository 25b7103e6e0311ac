# SPDX-License-Identifier: Apache-2.0
"""How far a build is, where TensorRT tells."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """Is told how far a build is; called from the builder's threads."""

    cancelled: bool

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, within another one or by itself."""
        ...

    def step(self, phase: str, number: int) -> bool:
        """A step of a phase is done; False ends the build (and `cancelled` says so)."""
        ...

    def finish(self, phase: str) -> None:
        """A phase is done, or given up."""
        ...


def make_monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's monitor, telling ``progress``; None where the version has none."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
