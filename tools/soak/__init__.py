# SPDX-License-Identifier: Apache-2.0
"""A long run of the whole daemon, watched from outside: see `tools.soak.__main__`."""
