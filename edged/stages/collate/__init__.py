# SPDX-License-Identifier: Apache-2.0
"""Collate: which frames make the next batch, and when it closes."""
