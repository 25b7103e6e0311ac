# SPDX-License-Identifier: Apache-2.0
"""The prepared graph: any ONNX model wrapped in edged's input and output step."""
