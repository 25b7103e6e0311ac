# SPDX-License-Identifier: Apache-2.0
"""Q/DQ nodes for tests, by ONNX Runtime's own quantizer: rough scales from noise, the right form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


class _Noise:
    """A few inputs of noise, as ONNX Runtime's calibrators read them."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        numbers = np.random.default_rng(0)
        self._left = [{name: numbers.normal(0, 1, shape).astype(np.float32)} for _ in range(2)]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return self._left.pop() if self._left else None


def write_quantized(source: Path, target: Path, size: tuple[int, int]) -> None:
    """Write a model's copy whose convolutions have Q/DQ nodes in front: symmetric, weights per channel.

    Args:
        source: the ONNX file; one input [N, 3, H, W].
        target: the new file.
        size: height, width.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    CalibrationDataReader.register(_Noise)
    model = onnx.load(source)
    kinds = sorted({node.op_type for node in model.graph.node})
    quantize(
        str(source),
        str(target),
        _Noise(model.graph.input[0].name, (1, 3, *size)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "ForceQuantizeNoInputCheck": True,
            "OpTypesToExcludeOutputQuantization": kinds,
            "QDQDisableWeightAdjustForInt32Bias": True,
        },
    )
