# SPDX-License-Identifier: Apache-2.0
"""Loading PyTorch, the user's model and its weights."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.errors import DeviceUnavailableError, ModelError
from edged.export.arguments import Request
from edged.export.blame import told
from edged.graph.checks import LARGEST_BYTES
from edged.problems import closest

_FLOAT32_BYTES = 4


def load_torch() -> Any:
    """PyTorch, which an export needs and nothing else of edged.

    Raises:
        DeviceUnavailableError: it is not installed, or it is broken.
    """
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torch.onnx")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        raise DeviceUnavailableError(
            "PyTorch is not installed" if missing else f"PyTorch cannot be imported: {error}",
            remedy="pip install torch in this Python; only the export needs it, running a model does not",
        ) from error
    return torch


def load_model(torch: Any, request: Request) -> Any:
    """The model as it is going to be exported: weights loaded, evaluation mode, float32, on the CPU.

    Args:
        torch: the package.
        request: names module, factory and weights.

    Raises:
        ModelError: there is no such module or factory, it fails, it returns something else, or the weights do not fit.
    """
    model = _made(torch, _found(request), request)
    if request.weights is not None:
        _load_weights(torch, model, request)
    size = _FLOAT32_BYTES * sum(tensor.numel() for tensor in model.state_dict().values())
    if size > LARGEST_BYTES:
        raise ModelError(
            f"the model has {size / 1e9:.1f} GB of weights; edged takes at most {LARGEST_BYTES / 1e9:.1f} GB",
            where=request.app,
            remedy="use a smaller model",
        )
    return model.cpu().float().eval().requires_grad_(False)


def _found(request: Request) -> Any:
    """What ``MODULE:FACTORY`` names."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value = importlib.import_module(request.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{request.module}.".startswith(f"{error.name}."):
            raise _failed(error, request, f"module {request.module} needs another: ") from error
        raise ModelError(
            f"there is no module {error.name} in this folder or on Python's path",
            where=request.app,
            remedy=f"run it in the folder that holds {error.name}, or set PYTHONPATH",
        ) from error
    except Exception as error:  # whatever the user's code raises, it is told in one line
        raise _failed(error, request, f"module {request.module} cannot be imported: ") from error
    for name in request.factory.split("."):
        if not hasattr(value, name):
            match = closest(name, [known for known in dir(value) if not known.startswith("_")])
            remedy = f"did you mean {match}?" if match else "give the name of a function, class or model in it"
            raise ModelError(f"{request.module} has no {name}", where=request.app, remedy=remedy)
        value = getattr(value, name)
    return value


def _made(torch: Any, value: Any, request: Request) -> Any:
    """The model itself, or what the factory returns."""
    if isinstance(value, torch.nn.Module):
        return value
    if not callable(value):
        raise ModelError(
            f"it is neither a model nor callable, but {type(value).__name__}",
            where=request.app,
            remedy="name a torch.nn.Module, or a function or class that makes one without arguments",
        )
    try:
        model = value()
    except Exception as error:  # whatever the user's code raises, it is told in one line
        raise _failed(error, request, "the factory failed: ") from error
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"the factory returned {type(model).__name__}, not a torch.nn.Module",
            where=request.app,
            remedy="return the model itself",
        )
    return model


def _failed(error: Exception, request: Request, what: str) -> ModelError:
    return ModelError(f"{what}{told(error)}", where=request.app, remedy="--traceback shows all of it")


def _load_weights(torch: Any, model: Any, request: Request) -> None:
    path = request.weights
    assert path is not None
    state = _state(torch, path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        own, given = set(model.state_dict()), set(state)
        parts = [
            f"{len(names)} {word} such as {min(names)}"
            for names, word in ((own - given, "missing"), (given - own, "unknown"))
            if names
        ]
        raise ModelError(
            f"the weights do not fit {request.app}: {', '.join(parts) or told(error)}",
            where=str(path),
            remedy="give the state_dict of this very model",
        ) from error


def _state(torch: Any, path: Path) -> Mapping[str, Any]:
    """The state_dict in a file, on its own or under the name that training scripts give it in a checkpoint."""
    remedy = "save it with torch.save(model.state_dict(), FILE)"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"the weights cannot be read ({error.strerror})", where=str(path), remedy="correct --weights"
        ) from error
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        what = "the file holds no weights, or more than weights, which is not loaded for safety"
        raise ModelError(what, where=str(path), remedy=remedy) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ModelError(f"the file holds {type(state).__name__}, not a state_dict", where=str(path), remedy=remedy)
    return state
