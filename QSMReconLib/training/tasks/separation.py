"""From the field, R2′ and χ to χ_para and χ_dia."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...evaluation.metrics import nrmse, xsim
from ...physics.dipole import Dipole
from ...separation.r2primefromr2star import two_slopes
from ...separation.start import first_separation
from ..shapes import Dice
from ..simulator import Sample, stacked
from .predicted import PredictedChi, relative_loss
from .task import Example, Task

if TYPE_CHECKING:
    from ..config import TrainingConfig

GUESSED = 0.25
"""In this share of the regions R2′ is not measured, but guessed from R2*."""
KNOWS = (0.2, 0.9)
"""How much of the way from the rule of two slopes to the truth such a guess has come, as a network's has."""


class Separation(Task):
    """Both maps (B, 2, X, Y, Z), ppm, χ_para first, from what is measured and the joint optimisation of it."""

    def __init__(self, config: TrainingConfig, network: nn.Module) -> None:
        super().__init__(config, network)
        self.chi = PredictedChi()

    def example(self, samples: Sequence[Sample], dice: Dice) -> Example:
        field, weight, kernel, mask = (stacked(samples, name) for name in ("field_ppm", "weight", "kernel", "mask"))
        spectrum = samples[0].spectrum
        chi = self.chi(samples, dice) * mask
        r2prime = stacked(samples, "measured_r2prime_hz")
        guessed = dice.chance(GUESSED)
        if guessed:
            rule = two_slopes(stacked(samples, "measured_r2star_hz"))
            r2prime = torch.lerp(rule, stacked(samples, "r2prime_hz"), dice.uniform(*KNOWS))
        total = r2prime * mask / self.config.simulator.dr_hz_per_ppm
        start = torch.stack(
            [
                first_separation(field[i, 0], total[i, 0], chi[i, 0], weight[i, 0], Dipole(spectrum, kernel[i, 0]))
                for i in range(len(samples))
            ]
        )
        inputs = {
            "field": field,
            "total": total,
            "chi": chi,
            "start": start,
            "guessed": torch.full((len(samples),), float(guessed), device=field.device),
            "weight": weight,
            "kernel": kernel,
            "spectrum": spectrum,
        }
        maps = torch.cat([stacked(samples, "chi_para_ppm"), stacked(samples, "chi_dia_ppm")], 1)
        return Example(inputs, {"maps": maps})

    def loss(self, found: Sequence[torch.Tensor], example: Example) -> torch.Tensor:
        config, given, truth = self.config, example.inputs, example.truth["maps"]
        mask = (given["weight"] > 0).to(truth.dtype)
        # χ_para and χ_dia, then what the χ map and R2′ are made of: their difference and their sum.
        importance = truth.new_tensor([1.0, 1.0, config.consistency_loss, config.consistency_loss])
        total = truth.new_zeros(())
        for index, maps in enumerate(found):
            sizes = relative_loss(_four(maps), _four(truth), _four(given["start"]), mask, config.gradient_loss)
            total = total + (sizes * importance).sum(1).mean() * 0.5 ** (len(found) - index)
        spectrum, kernel = given["spectrum"], given["kernel"]

        def field(maps: torch.Tensor) -> torch.Tensor:
            wrong = _four((maps - truth) * mask)[:, 2:3]
            return (spectrum.from_k(kernel * spectrum.to_k(wrong)).abs() * mask).sum() / mask.sum()

        with torch.no_grad():
            scale = field(given["start"]) + 1e-4
        return total + config.consistency_loss * field(found[-1]) / scale

    def scores(self, found: Sequence[torch.Tensor], example: Example) -> dict[str, float]:
        mask = example.inputs["weight"][0, 0] > 0
        scores: dict[str, float] = {}
        for index, name in enumerate(("para", "dia")):
            made, truth = found[-1][0, index].clamp(min=0), example.truth["maps"][0, index]
            scores[f"nrmse_{name}"] = nrmse(made, truth, mask)
            scores[f"xsim_{name}"] = xsim(made, truth, mask)
            scores[f"nrmse_{name}_start"] = nrmse(example.inputs["start"][0, index], truth, mask)
        return scores | {
            "nrmse": (scores["nrmse_para"] + scores["nrmse_dia"]) / 2,
            "xsim": (scores["xsim_para"] + scores["xsim_dia"]) / 2,
        }


def _four(maps: torch.Tensor) -> torch.Tensor:
    """χ_para, χ_dia, their difference and their sum."""
    para, dia = maps[:, :1], maps[:, 1:]
    return torch.cat([para, dia, para - dia, para + dia], 1)
