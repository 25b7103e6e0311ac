# SPDX-License-Identifier: Apache-2.0
"""What the machine feels and why it slows down: sensors, and the causes of lost throughput.

Runs in the supervisor, so nothing here imports numpy. ``readings`` are plain values, ``sensors`` fill them, ``causes``
and ``causes_events`` draw conclusions without any I/O.
"""
