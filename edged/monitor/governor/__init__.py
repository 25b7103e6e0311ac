# SPDX-License-Identifier: Apache-2.0
"""The governor: lowers the load before the hardware does, and raises it again.

Pure functions, no clock, no I/O: ``loads`` makes the steps, ``govern`` goes up and down them. docs/monitor-ledger.md
has the bands and the reasons for them.
"""
