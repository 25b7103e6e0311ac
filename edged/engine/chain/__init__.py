# SPDX-License-Identifier: Apache-2.0
"""From images to an engine that is known to be good: calibrate, quantize, evaluate, repair, race, choose, report.

`chain.Chain` is the way in; `edged.engine.build` calls it where there are images to measure with.
"""
