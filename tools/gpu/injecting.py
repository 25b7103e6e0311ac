# SPDX-License-Identifier: Apache-2.0
"""Has processes that are started meanwhile, and their children, load `tools/gpu/inject/sitecustomize.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "inject"


@contextmanager
def injected(variable: str, value: str) -> Iterator[None]:
    """Set the variable that asks for it, and put the folder first on the path; both are put back afterwards."""
    before = dict(os.environ)
    os.environ[variable] = value
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_FOLDER), before.get("PYTHONPATH")]))
    try:
        yield
    finally:
        for name in (variable, "PYTHONPATH"):
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]
