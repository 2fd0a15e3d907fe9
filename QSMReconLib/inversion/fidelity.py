"""How χ should explain a measured field, voxel by voxel: proximal maps of data terms.

Each function returns the map from a wanted field v (X, Y, Z) to the z that lessens data(z) + coupling/2·(z - v)².
`weight`, w² (X, Y, Z), counts the data and is 0 where there is none; there z = v.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

from .._lazy import torch

Nearest = Callable[["torch.Tensor"], "torch.Tensor"]

REFINEMENTS = 4
"""Steps towards the nearest field under the nonlinear term, from that under the quadratic one; each lessens the cost.
The next iteration of the solver goes on where these end."""


def quadratic(field_ppm: torch.Tensor, weight: torch.Tensor, coupling: float) -> Nearest:
    """Of ½w²(z - f)²."""
    trusted = weight + coupling
    measured, modelled = weight * field_ppm / trusted, coupling / trusted
    return lambda wanted: torch.addcmul(measured, modelled, wanted)


def absolute(field_ppm: torch.Tensor, weight: torch.Tensor, coupling: float) -> Nearest:
    """Of w|z - f|: what differs by little from the measured field becomes it, a wild value pulls no harder than others.

    `weight` is w itself, in ppm here.
    """
    limit = weight / coupling
    return lambda wanted: wanted - (wanted - field_ppm).clamp(-limit, limit)


def wrapping(field_ppm: torch.Tensor, weight: torch.Tensor, coupling: float, radians_per_ppm: float) -> Nearest:
    """Of ½w²|exp(is·z) - exp(is·f)|²/s², s the `radians_per_ppm`: as `quadratic` for small differences, but bounded,
    and blind to whole turns of the phase (Liu et al. 2013, doi:10.1002/mrm.24272).

    Whole turns are taken off the difference first; what is left is solved by replacing the cosine by a parabola above
    it that touches it, a few times over.
    """
    share, turn = coupling / (weight + coupling), 2 * pi / radians_per_ppm

    def nearest(wanted: torch.Tensor) -> torch.Tensor:
        apart = wanted - field_ppm
        apart.sub_(torch.round(apart / turn), alpha=turn)
        found = linear = apart * share
        for _ in range(REFINEMENTS):
            turned = torch.sin(found * radians_per_ppm).div_(-radians_per_ppm).add_(found)
            found = torch.addcmul(linear, turned, 1 - share)
        # Added to what was wanted: where there is no data it stays what it was, to the last bit.
        return torch.where(weight > 0, found - apart + wanted, wanted)

    return nearest
