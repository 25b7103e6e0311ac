# SPDX-License-Identifier: Apache-2.0
"""The training loop that the small models share. Needs PyTorch (extra ``train``)."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

_AVERAGED = 30  # the running average of the weights reaches back over a 30th of all steps
_REPORT_EVERY = 50


def fit(model: nn.Module, step_loss: Callable[[nn.Module, int], Tensor], steps: int, rate: float) -> nn.Module:
    """Train with AdamW, one warm-up and a falling rate.

    Args:
        model: in its initial state.
        step_loss: called with the model and the number of the step, from 0: the loss on a batch of its own making.
        steps: how many.
        rate: the highest learning rate.

    Returns:
        The running average of the weights, ready to be used: better, and steadier, than the last ones.
    """
    start = time.monotonic()
    # With the channels last, convolutions of few channels cost a third less on CPUs.
    model = model.to(memory_format=torch.channels_last).train()
    average = torch.optim.swa_utils.AveragedModel(
        model,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(max(0.5, 1 - _AVERAGED / steps)),
        use_buffers=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for step in range(steps):
        loss = step_loss(model, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        if step % _REPORT_EVERY == 0:
            print(f"step {step}/{steps}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s", flush=True)
    return average.module.to(memory_format=torch.contiguous_format).eval()


def depthwise(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A 3×3 filter a channel, then a mix of the channels; each with normalisation and ReLU."""
    one = nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, groups=inputs, bias=False)
    mix = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(one, nn.BatchNorm2d(inputs), nn.ReLU(), mix, nn.BatchNorm2d(outputs), nn.ReLU())
