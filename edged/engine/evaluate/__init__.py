# SPDX-License-Identifier: Apache-2.0
"""How good a model is on frames that calibration never saw: against labels, or against its own FP32 form.

`evaluator.Evaluator` is the way in; `labels.load_labels` reads what is known of the images, `alike` holds images
against those of calibration.
"""
