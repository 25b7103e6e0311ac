# SPDX-License-Identifier: Apache-2.0
"""Broken input by the ten thousand for everything that reads files or messages: see `tools.fuzz.__main__`."""
