"""What the tasks beyond inversion share: χ as the network that ships finds it, and a loss of many maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...networks.card import load_card, load_network
from ...networks.runner import has_fast_half
from ..shapes import Dice
from ..simulator import Sample, stacked

QSM = "qsmnet-phys"
"""Whose χ the networks for what follows are trained on; never the truth."""
VARIATIONAL = 0.2
"""In this share of the regions, χ is the map of total variation which that network starts from."""


class PredictedChi:
    """χ (B, 1, X, Y, Z) in ppm of simulated regions, as a scan would give it."""

    def __init__(self) -> None:
        self.network = load_network(load_card(QSM))

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample], dice: Dice) -> torch.Tensor:
        volumes = [stacked(samples, name) for name in ("field_ppm", "weight", "kernel")]
        spectrum, device = samples[0].spectrum, volumes[0].device
        self.network = self.network.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_half(device)):
            begin: Any = self.network.start
            start = begin(*volumes, spectrum)
            if dice.chance(VARIATIONAL):
                return start
            return self.network(*volumes, spectrum, start=start)[-1].float()


def relative_loss(
    found: torch.Tensor, truth: torch.Tensor, start: torch.Tensor, mask: torch.Tensor, gradient: float
) -> torch.Tensor:
    """The loss (B, C) of maps (B, C, X, Y, Z) against those of `start`, every map for itself.

    Of the error inside the mask: mean absolute, root mean square, and `gradient` times that of differences between
    neighbours, each relative to the error of `start`, or to a seventh of the map's contrast where that is more.
    """
    count = mask.sum((2, 3, 4)).clamp(min=1)

    def sizes(error: torch.Tensor) -> list[torch.Tensor]:
        jumps = torch.zeros_like(error[:, :, 0, 0, 0])
        for axis in (-3, -2, -1):
            n = error.shape[axis]
            both = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
            jumps = jumps + (error.diff(dim=axis).abs() * both).sum((2, 3, 4)) / (3 * count)
        absolute = (error.abs() * mask).sum((2, 3, 4)) / count
        square = (error.square() * mask).sum((2, 3, 4)) / count
        return [absolute, (square + 1e-14).sqrt(), jumps]

    with torch.no_grad():
        middle = (truth * mask).sum((2, 3, 4), keepdim=True) / count[:, :, None, None, None]
        flat = sizes((middle - truth) * mask)
        scales = [torch.maximum(a, 0.15 * b) + 1e-7 for a, b in zip(sizes((start - truth) * mask), flat, strict=True)]
    absolute, root, jumps = (a / b for a, b in zip(sizes((found - truth) * mask), scales, strict=True))
    return absolute + root + gradient * jumps
