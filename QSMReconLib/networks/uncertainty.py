"""How far a map may be wrong, voxel by voxel, from what can be seen without the truth.

The logarithm of the error that two voxels in three stay below is a linear function of ten things: what the data would
still change, what of the map lies where the dipole is blind (near and far), its contrast, what it leaves of the field,
the edge of the mask, noise, misfit, the voxel's shape and the size of the mask. The coefficients are fitted on
simulated regions (a quantile regression: Koenker and Bassett 1978, doi:10.2307/1913643) by benchmarks/uncertainty.py
and stand in the network's card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from ..physics.dipole import Dipole
from .unrolled import field_scale, noise_level

FEATURES = ("step", "blind", "blind_far", "contrast", "residual", "inside", "noise", "misfit", "shape", "extent")

NEAR_MM, FAR_MM = 3.0, 9.0
FLOOR = 3e-3
"""Added to sizes relative to the field's before their logarithm is taken."""


def standard_error(
    chi: torch.Tensor, field_ppm: torch.Tensor, weight: torch.Tensor, dipole: Dipole, coefficients: Mapping[str, float]
) -> torch.Tensor:
    """σ of χ (X, Y, Z) in ppm, 0 outside the mask: of χ against its mean over the mask, which no field tells.

    `weight` is 0..1 and 0 outside the mask; `coefficients` are those of FEATURES and "constant".
    """
    inside = weight > 0
    features, scale = evidence(chi, field_ppm, weight, dipole)
    factors = features.new_tensor([coefficients[name] for name in FEATURES])
    error = torch.zeros_like(chi)
    error[inside] = scale * torch.exp(features @ factors + coefficients["constant"])
    return error


def evidence(
    chi: torch.Tensor, field_ppm: torch.Tensor, weight: torch.Tensor, dipole: Dipole
) -> tuple[torch.Tensor, float]:
    """FEATURES of the voxels inside the mask (N, 10), and the size of the field in ppm to which they are relative."""
    inside = weight > 0
    mask = inside.float()
    kernel, spectrum = dipole.kernel, dipole.spectrum
    voxel = spectrum.voxel_size_mm
    volumes = field_ppm[None, None].float(), weight[None, None]
    scale = float(field_scale(volumes[0], mask[None, None]))
    noise = float(noise_level(*volumes)) / scale
    mu = 0.01 + noise**2
    left = field_ppm - dipole.field(chi)
    step = spectrum.from_k(kernel / (kernel * kernel + mu) * spectrum.to_k(weight * weight * left)) * mask
    blind = spectrum.from_k(mu / (kernel * kernel + mu) * spectrum.to_k(chi)) * mask
    misfit = float((left * mask).norm() / (field_ppm * mask).norm().clamp(min=1e-12))

    def size(volume: torch.Tensor, mm: float) -> torch.Tensor:
        found = _mean(volume * volume, mask, voxel, mm).clamp(min=0).sqrt()
        return torch.log(found / scale + FLOOR)

    columns = [
        size(step, NEAR_MM),
        size(blind, NEAR_MM),
        size(blind, FAR_MM),
        torch.log(_mean(_jumps(chi, mask, voxel), mask, voxel, NEAR_MM) / scale + FLOOR),
        size(weight * left, FAR_MM),
        _window(mask, voxel, FAR_MM),
    ]
    extent_mm = (float(mask.sum()) * math.prod(voxel)) ** (1 / 3)
    whole = (
        math.log(noise + 0.01),
        math.log(misfit + 0.01),
        math.log(max(voxel) / min(voxel)),
        math.log(extent_mm / 50),
    )
    found = torch.stack([column[inside] for column in columns], 1)
    return torch.cat([found, found.new_tensor(whole).expand(len(found), len(whole))], 1), scale


def _window(volume: torch.Tensor, voxel_mm: Sequence[float], mm: float) -> torch.Tensor:
    """Means over about `mm` along each axis, zeros beyond the volume."""
    width = [2 * round(mm / 2 / v) + 1 for v in voxel_mm]
    return functional.avg_pool3d(volume[None, None], width, 1, [n // 2 for n in width])[0, 0]


def _mean(volume: torch.Tensor, mask: torch.Tensor, voxel_mm: Sequence[float], mm: float) -> torch.Tensor:
    """Means over the voxels of the mask that are near."""
    return _window(volume * mask, voxel_mm, mm) / _window(mask, voxel_mm, mm).clamp(min=1e-6) * mask


def _jumps(chi: torch.Tensor, mask: torch.Tensor, voxel_mm: Sequence[float]) -> torch.Tensor:
    """How much χ differs from its neighbours in the mask, over the voxel's edge against the finest."""
    total = torch.zeros_like(chi)
    for axis, edge in enumerate(voxel_mm):
        n = chi.shape[axis]
        both = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
        jump = (chi.narrow(axis, 1, n - 1) - chi.narrow(axis, 0, n - 1)) * both * (min(voxel_mm) / edge)
        total.narrow(axis, 0, n - 1).add_(jump * jump)
        total.narrow(axis, 1, n - 1).add_(jump * jump)
    return total.sqrt()
