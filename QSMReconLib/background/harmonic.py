"""Solid harmonics: the smooth part of a background, and how much of it a local field could still hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._lazy import torch
from ..solvers.leastsquares import fitted

DEGREE = 8
"""Up to this degree sources inside the brain make little of them; what lies outside makes much."""
SAMPLES = 20000
"""Voxels that are enough for the (DEGREE + 1)² numbers fitted to them."""
CHUNK = 2**16
"""Voxels whose harmonics are made at a time: what they take stays in the processor's caches."""


def solid_harmonics(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, degree: int = DEGREE) -> Iterator[torch.Tensor]:
    """The real solid harmonics up to `degree` at points: (degree + 1)² solutions of Laplace's equation, one by one.

    Not normalised: multiples of r^l·P_l^m(cos θ)·cos mφ and sin mφ, by their recurrence, which divides by nothing.
    """
    squared = x * x + y * y + z * z
    real, imaginary = torch.ones_like(x), torch.zeros_like(x)
    for order in range(degree + 1):
        before, now = torch.zeros_like(x), torch.ones_like(x)
        for level in range(order, degree + 1):
            yield now * real
            if order > 0:
                yield now * imaginary
            after = ((2 * level + 1) * z * now - (level + order) * squared * before) / (level - order + 1)
            before, now = now, after
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real


def smooth_part(
    field_ppm: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], weight: torch.Tensor | None = None
) -> torch.Tensor:
    """The best fit (X, Y, Z) of solid harmonics around the middle of `mask` to a field there; 0 outside.

    `weight` is that of the squared residual, everywhere 1 if not given.
    """
    inside = mask > 0
    found = torch.zeros_like(field_ppm)
    position = _position(inside, voxel_size_mm)
    if len(position[0]) > (DEGREE + 1) ** 2:
        found.masked_scatter_(inside, _sum(_amounts(position, inside, field_ppm, weight), position))
    return found


def harmonic_residual(
    local_ppm: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], weight: torch.Tensor | None = None
) -> float:
    """The standard deviation, in ppm, of the smooth harmonic part of a local field (X, Y, Z) in `mask`.

    Fields of sources outside are harmonic inside, so this much of the background may be left; what lies outside but
    very near makes finer fields, which it does not see.
    """
    inside = mask > 0
    position = _position(inside, voxel_size_mm)
    if len(position[0]) <= (DEGREE + 1) ** 2:
        return 0.0
    amounts = _amounts(position, inside, local_ppm, weight)
    return float(_sum(amounts, _sampled(position)).std())


def _position(inside: torch.Tensor, voxel_size_mm: Sequence[float]) -> list[torch.Tensor]:
    """Where the voxels lie along each axis, (voxel,) each, from the middle of them all and in units of the farthest."""
    axes = [torch.arange(n, device=inside.device) * float(v) for n, v in zip(inside.shape, voxel_size_mm, strict=True)]
    # Not by a list of the voxels' indices, which would take as much as six volumes.
    position = [along.masked_select(inside) for along in torch.meshgrid(*axes, indexing="ij")]
    if len(position[0]) > 0:
        sample = torch.stack(_sampled(position))
        middle = sample.mean(1)
        farthest = float((sample - middle[:, None]).square().sum(0).max().sqrt().clamp(min=1e-12))
        for along, centre in zip(position, middle, strict=True):
            along.sub_(centre).div_(farthest)
    return position


def _sampled(position: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Of every so many voxels: SAMPLES at least, where there are as many."""
    step = max(1, len(position[0]) // SAMPLES)
    return [along[::step] for along in position]


def _amounts(
    position: Sequence[torch.Tensor], inside: torch.Tensor, field_ppm: torch.Tensor, weight: torch.Tensor | None
) -> list[float]:
    """How much of each solid harmonic there is in a field (X, Y, Z), of the voxels `inside` that are at `position`."""
    x, y, z = (along.double() for along in _sampled(position))
    basis = torch.stack(list(solid_harmonics(x, y, z)))
    length = basis.norm(dim=1).clamp(min=1e-12)
    basis /= length[:, None]
    values, *counts = _sampled([v.masked_select(inside) for v in (field_ppm, weight) if v is not None])
    amounts: list[float] = (fitted(basis, values, *counts) / length).tolist()
    return amounts


def _sum(amounts: Sequence[float], position: Sequence[torch.Tensor]) -> torch.Tensor:
    """The harmonics of these amounts added up (voxel,)."""
    values = torch.zeros_like(position[0])
    parts = zip(*(along.split(CHUNK) for along in position), strict=True)
    for (x, y, z), found in zip(parts, values.split(CHUNK), strict=True):
        for amount, function in zip(amounts, solid_harmonics(x, y, z), strict=True):
            found.add_(function, alpha=amount)
    return values
