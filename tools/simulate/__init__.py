# SPDX-License-Identifier: Apache-2.0
"""The batching policy on a virtual clock, against fixed windows: ``python -m tools.simulate --help``."""
