# SPDX-License-Identifier: Apache-2.0
"""Ports of the loopback interface."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tcp_endpoint() -> str:
    """A ZeroMQ endpoint at such a port."""
    return f"tcp://127.0.0.1:{free_port()}"
