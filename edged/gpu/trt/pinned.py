# SPDX-License-Identifier: Apache-2.0
"""Layers that have to be computed in float32 while the rest of a weakly typed network may be in float16 or int8."""

from __future__ import annotations

from typing import Any

_HELPERS = ("ONNXTRT_", "(Unnamed Layer")
"""How the parser names what it adds around a node by itself (versions from 8.7 on, and before)."""


def pin_to_float32(
    trt: Any, trt_network: Any, trt_config: Any, prefixes: tuple[str, ...], names: tuple[str, ...] = ()
) -> int:
    """Have some layers computed in float32.

    The constraints are to be obeyed, not only preferred: every layer exists in float32, so that obeying cannot fail,
    and a preference is given up in silence where another type is faster. Versions that have no such constraints type
    strongly, and there is nothing to do.

    Args:
        trt: the module.
        trt_network: as parsed, weakly typed.
        trt_config: of the build.
        prefixes: how the names of the ONNX nodes begin; the parser gives layers the names of their nodes.
        names: of further nodes, whole.

    Returns:
        How many layers were pinned.
    """
    obey = getattr(trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS", None)
    if obey is None or not (prefixes or names):
        return 0
    chosen = [trt_layer for trt_layer in _layers(trt_network, prefixes, frozenset(names)) if _pin(trt, trt_layer)]
    if chosen:
        trt_config.set_flag(obey)
    return len(chosen)


def _layers(trt_network: Any, prefixes: tuple[str, ...], names: frozenset[str]) -> list[Any]:
    """Layers that are named so, and the parser's own additions whose results nothing else reads."""
    every = [trt_network.get_layer(index) for index in range(trt_network.num_layers)]
    readers: dict[str, list[int]] = {}
    for number, trt_layer in enumerate(every):
        for name in _inputs(trt_layer):
            readers.setdefault(name, []).append(number)
    chosen = {
        number
        for number, trt_layer in enumerate(every)
        if trt_layer.name.startswith(prefixes) or trt_layer.name in names
    }
    # Layers stand after those that they read, so that one pass from the end sees every reader first.
    for number in reversed(range(len(every))):
        trt_layer = every[number]
        if number not in chosen and trt_layer.name.startswith(_HELPERS):
            reading = [reader for name in _outputs(trt_layer) for reader in readers.get(name, [])]
            if reading and chosen.issuperset(reading):
                chosen.add(number)
    return [every[number] for number in sorted(chosen)]


def _inputs(trt_layer: Any) -> list[str]:
    tensors = (trt_layer.get_input(index) for index in range(trt_layer.num_inputs))
    return [trt_tensor.name for trt_tensor in tensors if trt_tensor is not None]


def _outputs(trt_layer: Any) -> list[str]:
    return [trt_layer.get_output(index).name for index in range(trt_layer.num_outputs)]


def _pin(trt: Any, trt_layer: Any) -> bool:
    """Pin a layer and its results as far as they are floats; whether there was anything to pin.

    What computes shapes, indices and truth values has types of its own, which cannot be set.
    """
    floats = []
    for index in range(trt_layer.num_outputs):
        trt_tensor = trt_layer.get_output(index)
        if trt_tensor.dtype == trt.float32 and not trt_tensor.is_shape_tensor:
            floats.append(index)
    if not floats or not hasattr(trt_layer, "set_output_type") or not hasattr(trt_layer, "precision"):
        return False
    trt_layer.precision = trt.float32
    for index in floats:
        trt_layer.set_output_type(index, trt.float32)
    return True
