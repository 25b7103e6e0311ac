# SPDX-License-Identifier: Apache-2.0
"""Publish: predictions over ZeroMQ."""
