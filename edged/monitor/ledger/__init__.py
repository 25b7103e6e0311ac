# SPDX-License-Identifier: Apache-2.0
"""The throughput ledger: figures over 1, 10 and 60 minutes, peak against sustained, kept over restarts.

Lives in the supervisor: standard library only, bounded memory, no clock of its own. ``sample`` goes in at
`edged.monitor.ledger.ledger.Ledger`, ``figures`` come out; ``history`` reads the files from any process.
"""
