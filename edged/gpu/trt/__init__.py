# SPDX-License-Identifier: Apache-2.0
"""TensorRT 8.6 to 11 behind one face.

Versions are never compared: what a version lacks is found out by ``hasattr``, so that a backport or a later version
needs no change here. TensorRT's own objects stand in names that begin with ``trt`` (``trt_engine``, ``trt_config``, …):
``tools/make_trt_api_table.py`` reads the code by that rule, and a test holds every attribute used against the lists of
what each version really has.
"""

from edged.gpu.trt.library import TensorRt

__all__ = ["TensorRt"]
