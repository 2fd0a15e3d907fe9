"""What the training data of Meta-QSM (arXiv:1908.00206, section 2.1) have besides anatomy: solids, other contrasts."""

from __future__ import annotations

import math

import torch

from .shapes import Dice, Size, draw_blob


def draw_solids(
    dice: Dice, para: torch.Tensor, dia: torch.Tensor, shape: tuple[int, int, int], voxel_mm: Size, most_ppm: float
) -> None:
    """Draw one to eight spheres, ellipsoids, cuboids and cylinders of random χ, up to ± `most_ppm`, into the sources.

    They stand for bleeds and calcifications: in each, one of the sources is all there is.
    """
    for _ in range(dice.host.randint(1, 8)):
        solid = dice.host.choice(("sphere", "ellipsoid", "cuboid", "cylinder"))
        blob = draw_blob(dice, shape, voxel_mm, dice.spread(1.0, 8.0), 0.5 * min(voxel_mm), solid)
        value = dice.spread(0.02 * most_ppm, most_ppm)
        target, other = (para, dia) if dice.chance(0.5) else (dia, para)
        target[blob.box] = torch.lerp(target[blob.box], torch.full_like(blob.cover, value), blob.cover)
        other[blob.box] *= 1 - blob.cover


def change_contrast(dice: Dice, chi: torch.Tensor) -> torch.Tensor:
    """A positive map (X, Y, Z) with its contrast changed: linear, by a gamma, a logarithm or a sigmoid.

    Every change is rising and leaves zero and the map's largest value as they are; the linear one scales all.
    """
    kind = dice.host.choice(("linear", "gamma", "log", "sigmoid"))
    if kind == "linear":
        return chi * dice.uniform(0.5, 1.5)
    largest = chi.max().clamp(min=1e-9)
    share = chi / largest
    if kind == "gamma":
        return largest * share ** dice.spread(0.6, 1.7)
    if kind == "log":
        strength = dice.uniform(0.5, 4.0)
        return largest * torch.log1p(strength * share) / math.log1p(strength)
    steep = dice.uniform(1.0, 4.0)
    low, high = 1 / (1 + math.exp(steep / 2)), 1 / (1 + math.exp(-steep / 2))
    return largest * (torch.sigmoid(steep * (share - 0.5)) - low) / (high - low)
