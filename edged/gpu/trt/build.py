# SPDX-License-Identifier: Apache-2.0
"""Builds an engine from an ONNX file, with whatever the installed TensorRT offers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edged.errors import EngineError
from edged.gpu.calls import failure
from edged.gpu.codes import OUT_OF_MEMORY
from edged.gpu.engines import Shape, ShapeRange
from edged.gpu.trt.library import TensorRt, network_flags
from edged.gpu.trt.pinned import pin_to_float32
from edged.gpu.trt.progress import Progress, make_monitor

PRECISIONS = ("fp32", "tf32", "fp16", "int8")


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        profiles: optimisation profiles, each with a range for every input that varies.
        precision: one of `PRECISIONS`. A strongly typed build takes all but TF32 from the model's types, and ``int8``
            always means Q/DQ nodes in the model.
        strongly_typed: keep to the model's types where the version has the choice.
        float_layers: prefixes of names; what comes from ONNX nodes named so is computed in float32 whatever the
            precision. A strongly typed build needs none: there the model's types say it.
        float_nodes: names, whole, of further ONNX nodes that are computed in float32, likewise.
        float_rest: compute in float32 what an ``int8`` build does not quantize, without TF32; weakly typed only.
        takes_image: the model's input is an image that edged's own kernel makes, in whatever layout the builder likes
            best; where the precision allows it, in float16.
        workspace_bytes: memory that a kernel may use while it runs; None for TensorRT's own limit (all).
        optimization_level: 0 (fast build) to 5; None for TensorRT's default.
        aux_streams: at the most; None for TensorRT's choice. 0 where several contexts run in parallel.
        timing_cache: from an earlier build on this device, or empty.
        library_tactics: whether kernels of cuDNN and cuBLAS may be tried, where this version still can.
        detailed: keep every layer's details for the inspector.
        compute_capabilities: for builders that build for other devices (TensorRT-RTX), for example ``SM86``.
    """

    profiles: tuple[Mapping[str, ShapeRange], ...]
    precision: str = "fp32"
    strongly_typed: bool = False
    float_layers: tuple[str, ...] = ()
    float_nodes: tuple[str, ...] = ()
    float_rest: bool = False
    takes_image: bool = False
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    aux_streams: int | None = None
    timing_cache: bytes = field(default=b"", repr=False)
    library_tactics: bool = True
    detailed: bool = True
    compute_capabilities: tuple[str, ...] = ()


class NetworkTensor(NamedTuple):
    """A tensor of a parsed model: name, TensorRT's name of its type, shape with −1 where it varies."""

    name: str
    dtype: str
    shape: Shape


class BuiltEngine(NamedTuple):
    """An engine.

    Attributes:
        plan: serialised.
        timing_cache: to keep for the next build; empty where there is none.
        inputs: of the model as TensorRT read it.
        layers: before fusion.
    """

    plan: bytes
    timing_cache: bytes
    inputs: tuple[NetworkTensor, ...]
    layers: int


class Builder(Protocol):
    """What builds an engine; for tests of what is around it."""

    def __call__(self, model: Path, options: BuildOptions, progress: Progress | None = None) -> BuiltEngine:
        """See `build_engine`."""
        ...


def build_engine(
    library: TensorRt, model: Path, options: BuildOptions, progress: Progress | None = None
) -> BuiltEngine:
    """Parse a model and build it. Takes seconds to many minutes and the whole GPU: run it in a process of its own.

    Args:
        library: the installed TensorRT.
        model: an ONNX file, checked before.
        options: how.
        progress: told how far it is, where the version tells; can cancel.

    Raises:
        EngineError: the parser or the builder refuses; says which node and why.
        GpuMemoryError: the GPU's memory is too small for any kernel.
    """
    library.messages.clear()
    with warnings.catch_warnings():
        # What a version has is used, also where a later one will not have it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _build(library, model, options, progress)


def _build(library: TensorRt, model: Path, options: BuildOptions, progress: Progress | None) -> BuiltEngine:
    trt = library.trt
    trt_builder = trt.Builder(library.logger)
    trt_network = trt_builder.create_network(network_flags(trt, options.strongly_typed))
    trt_parser = trt.OnnxParser(trt_network, library.logger)
    if not trt_parser.parse_from_file(str(model)):
        raise _unparsed(library, model, trt_parser)
    inputs = tuple(_tensor(trt_network.get_input(index)) for index in range(trt_network.num_inputs))
    if options.takes_image:
        _free_image_layout(trt, trt_network.get_input(0), options)
    trt_config = trt_builder.create_builder_config()
    _set_precision(trt, trt_config, options)
    if options.precision in ("fp16", "int8") and not options.strongly_typed:
        pin_to_float32(trt, trt_network, trt_config, options.float_layers, options.float_nodes)
    _set_limits(trt, trt_config, options)
    _add_profiles(trt_builder, trt_config, options, inputs, model)
    _set_timing_cache(library, trt_config, options.timing_cache)
    if progress is not None and hasattr(trt_config, "progress_monitor"):
        trt_config.progress_monitor = make_monitor(trt, progress)
    plan = trt_builder.build_serialized_network(trt_network, trt_config)
    if plan is None:
        raise _unbuilt(library, model, progress)
    trt_cache = trt_config.get_timing_cache()
    cache = b"" if trt_cache is None else bytes(trt_cache.serialize())
    return BuiltEngine(bytes(plan), cache, inputs, trt_network.num_layers)


def _tensor(trt_tensor: Any) -> NetworkTensor:
    return NetworkTensor(trt_tensor.name, trt_tensor.dtype.name, tuple(trt_tensor.shape))


def _free_image_layout(trt: Any, trt_tensor: Any, options: BuildOptions) -> None:
    """Let the builder choose among the layouts that the kernel can make, see `edged.gpu.pixels`."""
    if options.precision in ("fp16", "int8") and not options.strongly_typed and not options.float_rest:
        trt_tensor.dtype = trt.float16
    planes = 1 << int(trt.TensorFormat.LINEAR)
    # Four channels side by side are what the first convolution reads without a reformat.
    packed = 1 << int(trt.TensorFormat.CHW4) if trt_tensor.dtype == trt.float16 else 0
    trt_tensor.allowed_formats = planes | packed


def _set_precision(trt: Any, trt_config: Any, options: BuildOptions) -> None:
    if options.precision not in PRECISIONS:
        raise EngineError(f"there is no precision {options.precision}", remedy=f"use one of {', '.join(PRECISIONS)}")
    if options.precision == "fp32" or options.float_rest:
        trt_config.clear_flag(trt.BuilderFlag.TF32)
    else:
        trt_config.set_flag(trt.BuilderFlag.TF32)
    if options.strongly_typed:
        return
    if options.precision in ("fp16", "int8") and not options.float_rest:
        half = getattr(trt.BuilderFlag, "FP16", None)
        if half is not None:
            trt_config.set_flag(half)
    if options.precision == "int8":
        eighth = getattr(trt.BuilderFlag, "INT8", None)
        if eighth is not None:
            trt_config.set_flag(eighth)


def _set_limits(trt: Any, trt_config: Any, options: BuildOptions) -> None:
    if options.workspace_bytes is not None:
        trt_config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        trt_config.builder_optimization_level = options.optimization_level
    if options.aux_streams is not None:
        trt_config.max_aux_streams = options.aux_streams
    if options.detailed:
        trt_config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not options.library_tactics:
        gone = (
            getattr(trt.TacticSource, "CUBLAS", None),
            getattr(trt.TacticSource, "CUBLAS_LT", None),
            getattr(trt.TacticSource, "CUDNN", None),
        )
        mask = sum(1 << int(source) for source in gone if source is not None)
        trt_config.set_tactic_sources(trt_config.get_tactic_sources() & ~mask)
    sharing = getattr(trt.PreviewFeature, "PROFILE_SHARING_0806", None)
    if sharing is not None:
        # Several contexts on one profile; later versions always can.
        trt_config.set_preview_feature(sharing, True)
    capabilities = getattr(trt, "ComputeCapability", None)
    if options.compute_capabilities and hasattr(trt_config, "set_compute_capability"):
        if hasattr(trt_config, "num_compute_capabilities"):
            trt_config.num_compute_capabilities = len(options.compute_capabilities)
        for index, name in enumerate(options.compute_capabilities):
            trt_config.set_compute_capability(getattr(capabilities, name), index)


def _add_profiles(
    trt_builder: Any, trt_config: Any, options: BuildOptions, inputs: tuple[NetworkTensor, ...], model: Path
) -> None:
    varying = {tensor.name for tensor in inputs if -1 in tensor.shape}
    for number, ranges in enumerate(options.profiles):
        missing = varying - ranges.keys()
        unknown = ranges.keys() - {tensor.name for tensor in inputs}
        if missing or unknown:
            what = f"has no range for {sorted(missing)}" if missing else f"names no inputs: {sorted(unknown)}"
            raise EngineError(f"optimisation profile {number} {what}", where=str(model))
        trt_profile = trt_builder.create_optimization_profile()
        for name, span in ranges.items():
            trt_profile.set_shape(name, span.smallest, span.best, span.largest)
        if trt_config.add_optimization_profile(trt_profile) < 0:
            raise EngineError(f"optimisation profile {number} is not valid: {dict(ranges)}", where=str(model))


def _set_timing_cache(library: TensorRt, trt_config: Any, kept: bytes) -> None:
    trt_cache = trt_config.create_timing_cache(kept)
    if kept and (trt_cache is None or not trt_config.set_timing_cache(trt_cache, False)):
        # Of another device or version: it only costs time to start anew.
        library.messages.add("WARNING", "the timing cache does not fit this device and TensorRT: a new one is begun")
        trt_cache = trt_config.create_timing_cache(b"")
        kept = b""
    if not kept and trt_cache is not None:
        trt_config.set_timing_cache(trt_cache, False)


def _unparsed(library: TensorRt, model: Path, trt_parser: Any) -> EngineError:
    problems = []
    for index in range(trt_parser.num_errors):
        trt_error = trt_parser.get_error(index)
        name = trt_error.node_name() if hasattr(trt_error, "node_name") else ""
        operator = trt_error.node_operator() if hasattr(trt_error, "node_operator") else ""
        place = f"node {trt_error.node()} {name} {operator}".rstrip()
        problems.append(f"{place}: {trt_error.desc()}")
    return EngineError(
        f"TensorRT {library.version} cannot read the model: {' | '.join(problems) or library.messages.reason()}",
        where=str(model),
        remedy="replace the operator, convert the model to an older opset, or give a plugin library with --plugin",
    )


def _unbuilt(library: TensorRt, model: Path, progress: Progress | None) -> Exception:
    if progress is not None and progress.cancelled:
        return EngineError("the build was cancelled", where=str(model))
    if library.messages.memory_ran_out:
        return failure(OUT_OF_MEMORY, f"building {model.name}")
    return EngineError(
        f"TensorRT {library.version} cannot build the model: {library.messages.reason()}",
        where=str(model),
        remedy="raise build.workspace_mb, or leave the layer that is named in float (build.keep_float)",
    )
