# SPDX-License-Identifier: Apache-2.0
"""``edged bench``: how fast an engine is alone, in the pipeline and in the whole daemon, and what holds it back.

Three levels, each a contestant in alternating rounds: the engine alone (`edged.bench.alone`), the slot pipeline over
rings that are filled beforehand (`edged.rig.pipe`), and ``edged run`` as a real child process (`edged.bench.daemon`).
Importing this package imports nothing.
"""
