# SPDX-License-Identifier: Apache-2.0
"""``python -m edged``."""

import sys

from edged.cli import main

if __name__ == "__main__":
    sys.exit(main())
