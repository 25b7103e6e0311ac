# SPDX-License-Identifier: Apache-2.0
"""What an engine is, in a few lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from edged.engine.manifest import Manifest
from edged.engine.protocol import BuildRequest, Done

_UNITS = ("B", "KiB", "MiB", "GiB")


def summary(request: BuildRequest, done: Done, manifest: Manifest) -> str:
    """The end of a build: where the engine is, how long it took, how large it is, and how to run it."""
    head = "built" if done.built else "already there, nothing to build (--force builds again)"
    rows = [
        ("engine", f"{manifest.model_id}, {manifest.fields.backend}, {manifest.fields.precision}: {head}"),
        ("where", str(Path(done.folder) / manifest.file)),
        ("current as", ", ".join(done.names)),
        *facts(manifest),
        *([("report", done.report)] if done.report else []),
        *(("earlier engine", text) for text in done.outdated),
        ("run it", run_command(request, manifest)),
    ]
    return table(rows)


def brief(request: BuildRequest, done: Done, manifest: Manifest) -> str:
    """What remains to be said after a verdict: where the engine is, and how to run it."""
    rows = [
        ("where", str(Path(done.folder) / manifest.file)),
        ("current as", ", ".join(done.names)),
        *([("also built", ", ".join(done.others))] if done.others else []),
        *(("earlier engine", text) for text in done.outdated),
        ("run it", run_command(request, manifest)),
    ]
    return table(rows)


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What is to be known of an engine: name and value."""
    fields = manifest.fields
    runtime = f"{fields.runtime} on {fields.gpu}, driver for CUDA {fields.driver}" if fields.gpu else fields.runtime
    return [
        ("why", "; ".join(manifest.chosen.why)),
        ("runtime", runtime),
        ("shapes", "; ".join(map(str, fields.profiles)) or _any_shape(manifest)),
        ("outputs", ", ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in manifest.tensors if t.role == "output")),
        *_measured(manifest),
        ("built in", f"{manifest.built_in_s:.1f} s"),
        ("file", size(manifest.size)),
        *([("GPU memory", gpu_memory(manifest))] if fields.backend == "tensorrt" else []),
        *(("converted", text) for text in manifest.conversions),
    ]


def _measured(manifest: Manifest) -> list[tuple[str, str]]:
    """How good it is, and how much of it is INT8."""
    int8 = manifest.int8
    rows = [] if manifest.evaluation is None else [("accuracy", str(manifest.evaluation))]
    if int8 is not None:
        images = f", ranges of {int8.images} images by {int8.method}" if int8.images else f", {int8.method}"
        source = ", by a recipe from elsewhere" if int8.recipe else ""
        rows.append(("INT8", f"{int8.layers} layers, {int8.share:.1%} of the multiply-adds{images}{source}"))
    if manifest.agreement_bound is not None:
        rows.append(("in production", f"agreement with FP32 of at least {manifest.agreement_bound:g} points"))
    return rows


def run_command(request: BuildRequest, manifest: Manifest) -> str:
    """The command that runs an engine; the settings need a source besides."""
    words = ["edged", "run", "--config", "FILE", "--model.spec", request.spec, "--engine.backend"]
    words += [manifest.fields.backend, "--daemon.state_dir", request.state_dir]
    if request.precision != "auto":
        words += ["--engine.precision", request.precision]
    return shlex.join(words)


def table(rows: list[tuple[str, str]]) -> str:
    """Rows of name and value, aligned; free of control characters, whatever a manifest holds."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(_printable(f"{name.ljust(width)}  {value}".rstrip()) for name, value in rows)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def size(count: float) -> str:
    """Bytes for people."""
    count, unit = min(count, 1 << 60), 0  # a manifest may hold any number
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def _any_shape(manifest: Manifest) -> str:
    return "any batch" if manifest.fixed_batch is None else f"batch {manifest.fixed_batch}"


def gpu_memory(manifest: Manifest) -> str:
    """GPU memory of a TensorRT engine, by kind."""
    memory = manifest.memory
    weights = "unknown" if memory.weights is None else size(memory.weights)
    activations = ", ".join(map(size, memory.activations)) or "unknown"
    io = "unknown" if memory.io is None else size(memory.io)
    return f"weights {weights}; activations {activations} a context; input and output {io} a slot"
