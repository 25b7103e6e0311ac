# SPDX-License-Identifier: Apache-2.0
"""Postprocess: what is left after the graph's output step."""
