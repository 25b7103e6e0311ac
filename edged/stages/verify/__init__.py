# SPDX-License-Identifier: Apache-2.0
"""Verify: what was published, held against the FP32 reference on the same frames."""
