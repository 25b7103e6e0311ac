# SPDX-License-Identifier: Apache-2.0
"""Calibration images from the user's own source: varied frames, kept so that a build can be repeated.

`sampler.sample` is the way in.
"""
