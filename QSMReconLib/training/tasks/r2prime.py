"""From R2* and χ to R2′."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...evaluation.metrics import nrmse, xsim
from ...separation.r2primefromr2star import two_slopes
from ..shapes import Dice
from ..simulator import Sample, stacked
from .predicted import PredictedChi, relative_loss
from .task import Example, Task

if TYPE_CHECKING:
    from ..config import TrainingConfig


class SplitRates(Task):
    """R2′ (B, 1, X, Y, Z) in Hz from R2* and the χ that a network has found; the rule of two slopes is the start."""

    def __init__(self, config: TrainingConfig, network: nn.Module) -> None:
        super().__init__(config, network)
        self.chi = PredictedChi()

    def example(self, samples: Sequence[Sample], dice: Dice) -> Example:
        mask = stacked(samples, "mask")
        r2star = stacked(samples, "measured_r2star_hz")
        chi = self.chi(samples, dice)
        inputs = {"r2star": r2star, "guess": two_slopes(r2star), "chi": chi * mask, "weight": mask}
        return Example(inputs, {"r2prime": stacked(samples, "r2prime_hz")})

    def loss(self, found: Sequence[torch.Tensor], example: Example) -> torch.Tensor:
        given = example.inputs
        truth, mask = example.truth["r2prime"], given["weight"]
        loss = relative_loss(found[-1], truth, given["guess"], mask, self.config.gradient_loss).mean()
        # No mean of a region may drift: what a region is off by, a person reads as iron or myelin.
        error = (found[-1] - truth) * mask
        coarse = nn.functional.avg_pool3d(error, 8).abs().mean() / (truth * mask).mean().clamp(min=0.1)
        return loss + self.config.consistency_loss * coarse

    def scores(self, found: Sequence[torch.Tensor], example: Example) -> dict[str, float]:
        truth, mask = example.truth["r2prime"][0, 0], example.inputs["weight"][0, 0] > 0
        made = found[-1][0, 0].clamp(min=0)
        return {
            "nrmse": nrmse(made, truth, mask),
            "xsim": xsim(made, truth, mask),
            "nrmse_guess": nrmse(example.inputs["guess"][0, 0], truth, mask),
        }
