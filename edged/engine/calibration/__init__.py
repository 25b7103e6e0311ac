# SPDX-License-Identifier: Apache-2.0
"""What a calibration is made from, and what it has found: image sets with weights, and a cache of the histograms."""
