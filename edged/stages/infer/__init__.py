# SPDX-License-Identifier: Apache-2.0
"""Infer: the slot pipeline over an executor."""
