# SPDX-License-Identifier: Apache-2.0
"""What goes into an engine, and how two engines differ, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

Backend = Literal["tensorrt", "onnxruntime"]
Precision = Literal["int8", "fp16", "tf32", "fp32"]
Three = tuple[int, int, int]
"""Smallest, best, largest."""

InputStep = Literal["kernel", "graph"]
"""Who computes the input step: edged's own kernel in front of the engine, or the engine as layers of its own."""

FORMAT = 3
"""Raised whenever the same inputs would make another engine."""

_SHOWN = 12


class Profile(msgspec.Struct, frozen=True):
    """An optimisation profile: the shapes that an engine takes and the one it is tuned for.

    Attributes:
        batch: frames in a batch: min, opt, max.
        height: of a frame, pixels: min, opt, max.
        width: of a frame, pixels: min, opt, max.
    """

    batch: Three
    height: Three
    width: Three

    def __str__(self) -> str:
        return f"batch {_three(self.batch)} of {_three(self.height)} x {_three(self.width)}"


class BuilderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may tell the builder.

    Attributes:
        workspace_mb: GPU memory that a layer may use beside its tensors, MiB.
        optimization_level: effort, 0 to 5.
        aux_streams: streams beside the main one; None leaves it to the builder.
        plugins: SHA-256 of each custom-operator library, in the order of loading.
        input_step: who computes it.
    """

    workspace_mb: int
    optimization_level: int
    aux_streams: int | None = None
    plugins: tuple[str, ...] = ()
    input_step: InputStep = "kernel"


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a TensorRT engine is tied to.

    Attributes:
        runtime: library and version, for example ``tensorrt 10.3.0``.
        gpu: name as the driver gives it.
        compute_capability: major, minor.
        driver: version of CUDA that the driver brings, for example ``13.0``.
    """

    runtime: str
    gpu: str
    compute_capability: tuple[int, int]
    driver: str


class EngineKey(msgspec.Struct, frozen=True, kw_only=True):
    """All that went into an engine. Two engines with the same key are interchangeable.

    Attributes:
        model: digest of the prepared graph: ONNX file, labels, model spec, version of edged.
        precision: of the engine.
        backend: what runs it.
        profiles: shapes it takes; empty for ONNX Runtime, which takes any.
        options: of the builder; for ONNX Runtime only its plugins, None without any.
        runtime: library and version.
        gpu: name; empty for ONNX Runtime.
        compute_capability: of the GPU.
        driver: version of CUDA that the driver brings; empty for ONNX Runtime.
        calibration: digest of the calibration and of the precision plan; None where there was none.
        format: of this record.
    """

    model: str
    precision: Precision
    backend: Backend
    runtime: str
    profiles: tuple[Profile, ...] = ()
    options: BuilderOptions | None = None
    gpu: str = ""
    compute_capability: tuple[int, int] | None = None
    driver: str = ""
    calibration: str | None = None
    format: int = FORMAT

    def digest(self) -> str:
        """SHA-256 over all fields, 64 hexadecimal digits: the engine's name in the store."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def found_here(self, model: str, facts: DeviceFacts | None) -> EngineKey:
        """This key with the fields that a start can know replaced by what it finds.

        An ONNX Runtime engine is an ONNX file, which any version on any machine takes: only its model counts.

        Args:
            model: digest of the prepared graph.
            facts: the device; None where there is none.
        """
        if self.backend == "onnxruntime":
            return msgspec.structs.replace(self, model=model)
        if facts is None:
            return msgspec.structs.replace(self, model=model, gpu="", compute_capability=None, driver="")
        return msgspec.structs.replace(self, model=model, **msgspec.structs.asdict(facts))


class Difference(NamedTuple):
    """One field in which two engines differ.

    Attributes:
        field: in words.
        built: its value in the engine.
        here: its value here, or in the other engine.
    """

    field: str
    built: str
    here: str

    def __str__(self) -> str:
        return f"{self.field}: built for {self.built}, here {self.here}"


def differences(built: EngineKey, here: EngineKey) -> list[Difference]:
    """The fields in which two keys differ, in words, the most telling first."""
    found = []
    for name, (words, show) in _FIELDS.items():
        ours, theirs = _value(built, name), _value(here, name)
        if ours != theirs:
            found.append(Difference(words, show(ours), show(theirs)))
    return found


def _value(key: EngineKey, name: str) -> Any:
    section, dot, field = name.partition(".")
    value = getattr(key, section)
    return getattr(value, field, None) if dot else value


def _three(values: Three) -> str:
    low, best, high = values
    return str(best) if low == high else f"{low}-{best}-{high}"


def _plain(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def _digest(value: str | None) -> str:
    return value[:_SHOWN] if value else "none"


def _version(value: tuple[int, int] | None) -> str:
    return "none" if value is None else ".".join(map(str, value))


def _profiles(value: tuple[Profile, ...]) -> str:
    return "; ".join(map(str, value)) or "any shape"


def _plugins(value: tuple[str, ...] | None) -> str:
    return ", ".join(map(_digest, value or ())) or "none"


_FIELDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "backend": ("backend", _plain),
    "model": ("model, its spec or its labels", _digest),
    "precision": ("precision", _plain),
    "gpu": ("GPU", _plain),
    "compute_capability": ("compute capability", _version),
    "runtime": ("runtime", _plain),
    "driver": ("driver's CUDA version", _plain),
    "profiles": ("shapes", _profiles),
    "calibration": ("calibration", _digest),
    "options.workspace_mb": ("workspace, MiB", _plain),
    "options.optimization_level": ("optimisation level", _plain),
    "options.aux_streams": ("auxiliary streams", _plain),
    "options.plugins": ("plugins", _plugins),
    "options.input_step": ("input step", _plain),
    "format": ("format of the key", _plain),
}
