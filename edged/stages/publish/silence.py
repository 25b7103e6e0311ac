# SPDX-License-Identifier: Apache-2.0
"""What may be the matter where a subscriber hears nothing: ZeroMQ does not say it, and tries for ever."""

from __future__ import annotations


def likely_causes(endpoint: str, *, keys: bool) -> str:
    """What to look at, as a question.

    Args:
        endpoint: what was connected to.
        keys: whether this was done with CURVE keys.
    """
    if "tcp://" not in endpoint:
        last = "may this user open the socket (group edged)"
    elif keys:
        last = "does it know this client's key (edged keys list, there), and is --server-key the key of that daemon"
    else:
        last = "does it want CURVE keys (--server-key FILE --key FILE)"
    return f"is the daemon running, does it publish there (publish.bind), and {last}?"
