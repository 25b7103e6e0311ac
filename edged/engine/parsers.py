# SPDX-License-Identifier: Apache-2.0
"""What the ONNX parsers of the TensorRT versions take."""

from __future__ import annotations

_PARSERS: dict[str, tuple[tuple[tuple[int, int], int], ...]] = {
    "tensorrt": (((8, 0), 17), ((10, 0), 20), ((10, 6), 22), ((10, 15), 24)),
    "tensorrt_rtx": (((1, 0), 22),),
}
"""The newest opset of each parser from a version on, as the parser's own list of operators says; none of them can be
asked. Where it says nothing, the last known one."""


def parser_opset(product: str, version: str) -> int:
    """The newest opset that a parser takes.

    Args:
        product: ``tensorrt`` or ``tensorrt_rtx``.
        version: for example ``10.3.0``.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    known = _PARSERS[product]
    return max([opset for since, opset in known if since <= (major, minor)], default=known[0][1])
