# SPDX-License-Identifier: Apache-2.0
"""What every test of a running daemon gets."""

import signal

pytest_plugins = ["support.fixtures"]

# A shell starts what runs in its background with Ctrl-C ignored, and every child would inherit that: tests of Ctrl-C
# want what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
