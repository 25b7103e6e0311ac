# SPDX-License-Identifier: Apache-2.0
"""Imports each module of a list in a process of its own, and prints what came of it as JSON: name to text, if any.

The processes are forks of one that has loaded the libraries: their loading is what takes the time, and it is edged's
modules that are to be tried.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

LIBRARIES = ("numpy", "cv2", "msgspec", "onnx", "onnxruntime", "pydantic_settings", "rich.console", "zmq")


def main(modules: Sequence[str]) -> None:
    """Try each module."""
    for library in LIBRARIES:
        importlib.import_module(library)
    print(json.dumps({module: said for module in modules if (said := attempt(module))}))


def attempt(module: str) -> str:
    """What importing a module printed, the error it raised included."""
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
            _import(module)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        text = told.read().decode(errors="replace")
    return text or ("" if status == 0 else f"ended with {status}")


def _import(module: str) -> None:
    status = 1
    try:
        importlib.import_module(module)
        status = 0
    except BaseException:  # noqa: BLE001 - the top of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
