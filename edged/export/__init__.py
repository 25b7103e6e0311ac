# SPDX-License-Identifier: Apache-2.0
"""``edged export``: a PyTorch model becomes a checked ONNX file with a dynamic batch, and a first model spec.

Nothing else in edged imports torch, and here only `edged.export.load` does, when an export runs.
"""
