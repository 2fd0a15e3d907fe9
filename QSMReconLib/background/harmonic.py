"""Solid harmonics: the smooth part of a background, and how much of it a local field could still hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._lazy import torch
from ..solvers.leastsquares import fitted

DEGREE = 8
"""Up to this degree sources inside the brain make little of them; what lies outside makes much."""
SAMPLES = 20000
"""Voxels that are enough for the (DEGREE + 1)² numbers fitted to them."""


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
    if len(position) > (DEGREE + 1) ** 2:
        found[inside] = _sum(
            _amounts(position, field_ppm[inside], None if weight is None else weight[inside]), position
        )
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
    if len(position) <= (DEGREE + 1) ** 2:
        return 0.0
    amounts = _amounts(position, local_ppm[inside], None if weight is None else weight[inside])
    return float(_sum(amounts, position[:: _stride(position)]).std())


def _position(inside: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """Where each voxel lies (voxel, 3) from the middle of them all, in units of the farthest."""
    position = inside.nonzero().float()
    if len(position) > 0:
        position.sub_(position.mean(0)).mul_(torch.tensor([float(v) for v in voxel_size_mm], device=position.device))
        position.div_(position.square().sum(1).max().sqrt().clamp(min=1e-12))
    return position


def _stride(position: torch.Tensor) -> int:
    return max(1, len(position) // SAMPLES)


def _amounts(position: torch.Tensor, field_ppm: torch.Tensor, weight: torch.Tensor | None) -> list[float]:
    """How much of each solid harmonic there is in a field (voxel,)."""
    step = _stride(position)
    basis = torch.stack(list(solid_harmonics(*position[::step].double().T)))
    length = basis.norm(dim=1).clamp(min=1e-12)
    basis /= length[:, None]
    found = fitted(basis, field_ppm[::step], None if weight is None else weight[::step])
    amounts: list[float] = (found / length).tolist()
    return amounts


def _sum(amounts: Sequence[float], position: torch.Tensor) -> torch.Tensor:
    """The harmonics of these amounts added up (voxel,)."""
    x, y, z = position.T.contiguous()
    values = torch.zeros_like(x)
    for amount, function in zip(amounts, solid_harmonics(x, y, z), strict=True):
        values.add_(function, alpha=amount)
    return values
