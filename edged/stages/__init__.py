# SPDX-License-Identifier: Apache-2.0
"""The way of a frame: capture, collate, infer, postprocess, publish."""
