# SPDX-License-Identifier: Apache-2.0
"""Why an engine was chosen, with the evidence: ``report.html`` beside it, and one screen on the terminal.

`data` is what the chain fills in, `write` makes the page, `verdict` the screen. Matplotlib is imported only where a
page is written.
"""
