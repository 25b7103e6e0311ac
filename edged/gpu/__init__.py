# SPDX-License-Identifier: Apache-2.0
"""The GPU: the only part of edged that knows CUDA and TensorRT.

Importing it needs neither. ``api`` and ``engines`` say what a GPU and an engine are to the rest of edged; ``cuda`` and
``trt`` are the real ones, ``fake`` is one that runs anywhere and watches every access.
"""
