# SPDX-License-Identifier: Apache-2.0
"""The report's pictures: each takes the data and draws a matplotlib figure, or says that there is nothing to draw."""
