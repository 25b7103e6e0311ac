# SPDX-License-Identifier: Apache-2.0
"""The rig that the benchmark and the race of a build measure in: contestants in alternating rounds, each with the
daemon's pipeline over rings that are filled beforehand, and figures of what came of it.
"""
