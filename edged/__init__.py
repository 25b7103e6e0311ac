# SPDX-License-Identifier: Apache-2.0
"""edged: frames in, predictions out, and the truth about how it went."""

__version__ = "0.1.0"
