# SPDX-License-Identifier: Apache-2.0
"""Capture: sources to fitted frames in the frame ring."""
