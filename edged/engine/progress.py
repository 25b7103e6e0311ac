# SPDX-License-Identifier: Apache-2.0
"""Showing how a build goes: a live display on a terminal, a line for each phase elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from edged.engine.protocol import Event, Failed, Note, Phase, Step, Verdict


class Display:
    """Shows the events of a build; a context manager, so that the terminal is itself again afterwards.

    Args:
        console: where to.
        tracebacks: whether to show those of internal errors.

    Attributes:
        verdict: what was measured and chosen, for the end; None where nothing was.
    """

    def __init__(self, console: Console, *, tracebacks: bool = False) -> None:
        self.verdict: Verdict | None = None
        self._console = console
        self._tracebacks = tracebacks
        self._start = time.monotonic()
        self._phase: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._phases = Progress(SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console)
        self._steps = Progress(
            TextColumn("   "), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"), console=console
        )
        self._live = Live(Group(self._phases, self._steps), console=console, refresh_per_second=8)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_phase()
        else:
            self._end_steps()
        if self._console.is_terminal:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Phase):
            self._end_phase()
            self._phase = self._phases.add_task(escape(event.name), total=None)
            self._line(f"{event.name} …")
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Note):
            self._print(f"  {event.text}")
        elif isinstance(event, Verdict):
            self.verdict = event
        elif isinstance(event, Failed) and self._tracebacks:
            self._print(event.traceback)

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._print(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _end_phase(self) -> None:
        self._end_steps()
        if self._phase is not None:
            self._phases.update(self._phase, total=1, completed=1)
            self._phase = None

    def _end_steps(self) -> None:
        for task in self._tasks.values():
            self._steps.remove_task(task)
        self._tasks.clear()

    def _step(self, event: Step) -> None:
        known = self._tasks.get(event.task)
        if event.total == 0:
            if known is not None:
                self._steps.remove_task(self._tasks.pop(event.task))
        elif known is None:
            inner = "  " if event.parent in self._tasks else ""
            self._tasks[event.task] = self._steps.add_task(
                f"{inner}{escape(event.task)}", total=event.total, completed=event.done
            )
        else:
            self._steps.update(known, completed=event.done)
