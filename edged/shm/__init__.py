# SPDX-License-Identifier: Apache-2.0
"""What processes share: rings, slot tables, counters, wake-ups."""
