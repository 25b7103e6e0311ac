# SPDX-License-Identifier: Apache-2.0
"""Build time: building engines on the device, and the store that keeps them.

Importing it loads nothing. `lookup` is what ``edged run`` needs, and cheap; everything else belongs to
``edged-build-engine`` and is never part of the frame path.
"""
