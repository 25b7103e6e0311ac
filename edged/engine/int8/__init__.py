# SPDX-License-Identifier: Apache-2.0
"""INT8: calibrate, plan, write, rank and repair a quantization of the prepared graph."""
