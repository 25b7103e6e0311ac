# SPDX-License-Identifier: Apache-2.0
"""Names for Nsight Systems: stages as NVTX ranges, when profiling is on.

A range is put around a method of one object, before anything binds it. With profiling off nothing is wrapped, and no
call is added anywhere. Ranges lie in the domain ``edged``, one stack a thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from edged.errors import SettingsError

DOMAIN = "edged"
_COLORS = {
    "decode": "blue",
    "fit": "cyan",
    "hand-over": "grey",
    "collate": "yellow",
    "submit": "orange",
    "wait": "grey",
    "deliver": "green",
    "take": "yellow",
    "postprocess": "purple",
    "send": "green",
}
_P = ParamSpec("_P")
_R = TypeVar("_R")


def check_available() -> None:
    """Make sure that profiling is possible.

    Raises:
        SettingsError: the package that it needs is not installed.
    """
    if find_spec("nvtx") is None:
        raise SettingsError(
            "the nvtx package is not installed",
            where="daemon.profile",
            remedy="pip install 'edged[profile]', or leave daemon.profile at false",
        )


class Ranges:
    """Puts ranges around functions.

    Args:
        on: whether to; where it is False, functions stay as they are.

    Raises:
        SettingsError: the nvtx package is not installed.
    """

    def __init__(self, on: bool) -> None:
        self._domain: Any = None
        if on:
            check_available()
            self._domain = import_module("nvtx").get_domain(DOMAIN)

    def around(self, stage: str, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """A function with the stage's range around each call; the function itself where profiling is off."""
        if self._domain is None:
            return function
        push, pop = self._domain.push_range, self._domain.pop_range
        # Made once: what is left for each call are the two calls that begin and end the range.
        attributes = self._domain.get_event_attributes(message=stage, color=_COLORS[stage])

        @functools.wraps(function)
        def ranged(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            push(attributes)
            try:
                return function(*args, **kwargs)
            finally:
                pop()

        return ranged

    def cover(self, target: object, stages: Mapping[str, str]) -> None:
        """Put ranges around methods of one object.

        Args:
            target: the object; others of its class stay as they are.
            stages: the stage that each method is, by the method's name.
        """
        if self._domain is not None:
            for method, stage in stages.items():
                setattr(target, method, self.around(stage, getattr(target, method)))
