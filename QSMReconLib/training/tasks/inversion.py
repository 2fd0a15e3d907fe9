"""From the local field to χ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...evaluation.metrics import nrmse, xsim
from ..losses import chi_loss, l1_loss
from ..shapes import Dice
from ..simulator import Sample, stacked
from .task import Example, Task


class Inversion(Task):
    """χ (B, 1, X, Y, Z) in ppm after every step of a reconstruction, from a local field and its weight."""

    def example(self, samples: Sequence[Sample], dice: Dice) -> Example:
        inputs: dict[str, Any] = {
            "field": stacked(samples, "field_ppm"),
            "weight": stacked(samples, "weight"),
            "kernel": stacked(samples, "kernel"),
            "spectrum": samples[0].spectrum,
        }
        # What needs no learning is done once for all the repeats of an example.
        begin = getattr(self.network, "start", None)
        if begin is not None:
            inputs["start"] = begin(**inputs)
        return Example(inputs, {"chi": stacked(samples, "chi_ppm")})

    def loss(self, found: Sequence[torch.Tensor], example: Example) -> torch.Tensor:
        given = example.inputs
        if self.config.loss == "l1":
            return l1_loss(found[-1], example.truth["chi"], given["weight"], self.config.l1_ppm)
        return chi_loss(
            found,
            example.truth["chi"],
            given["weight"],
            given["kernel"],
            given["spectrum"],
            self.config.gradient_loss,
            self.config.consistency_loss,
            given.get("start"),
        )

    def scores(self, found: Sequence[torch.Tensor], example: Example) -> dict[str, float]:
        volumes = found[-1][0, 0], example.truth["chi"][0, 0], example.inputs["weight"][0, 0] > 0
        return {"nrmse": nrmse(*volumes), "xsim": xsim(*volumes)}
