# SPDX-License-Identifier: Apache-2.0
"""What every test of a running daemon gets."""

pytest_plugins = ["support.fixtures"]
