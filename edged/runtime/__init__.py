# SPDX-License-Identifier: Apache-2.0
"""Supervisor, process entry points, logging."""
