# SPDX-License-Identifier: Apache-2.0
"""``edged doctor``: what is wrong with this machine or these settings, and the exact remedy.

Every check is a `Check` in one of the modules of `edged.doctor.checks`; `edged.doctor.registry` lists them in the order
in which they run. A check looks at files below an injectable root, at the settings, or asks a library in a child
process: a library that crashes or hangs is a finding, and the doctor goes on.
"""
