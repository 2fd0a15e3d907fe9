"""How much of a local field could still be background."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch

DEGREE = 8
"""Solid harmonics up to this degree. Sources inside the brain make little of them; what lies outside makes much."""
SAMPLES = 20000
"""Voxels that are enough for the (DEGREE + 1)² numbers fitted to them."""


def solid_harmonics(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, degree: int = DEGREE) -> torch.Tensor:
    """The real solid harmonics up to `degree` at N points: ((degree + 1)², N), each a solution of Laplace's equation.

    Not normalised: multiples of r^l·P_l^m(cos θ)·cos mφ and sin mφ, by their recurrence, which divides by nothing.
    """
    squared = x * x + y * y + z * z
    found = []
    real, imaginary = torch.ones_like(x), torch.zeros_like(x)
    for order in range(degree + 1):
        before, now = torch.zeros_like(x), torch.ones_like(x)
        for level in range(order, degree + 1):
            found.append(now * real)
            if order > 0:
                found.append(now * imaginary)
            after = ((2 * level + 1) * z * now - (level + order) * squared * before) / (level - order + 1)
            before, now = now, after
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real
    return torch.stack(found)


def harmonic_residual(
    local_ppm: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], weight: torch.Tensor | None = None
) -> float:
    """The standard deviation, in ppm, of the smooth harmonic part of a local field (X, Y, Z) in `mask`.

    A weighted fit of solid harmonics around the middle of the mask. Fields of sources outside are harmonic inside, so
    this much of the background may be left; what lies outside but very near makes finer fields, which it does not see.
    """
    places = (mask > 0).nonzero()
    if len(places) <= (DEGREE + 1) ** 2:
        return 0.0
    places = places[:: max(1, len(places) // SAMPLES)]
    field = local_ppm[tuple(places.T)].double()
    count = torch.ones_like(field) if weight is None else weight[tuple(places.T)].double().clamp(min=1e-6)
    position = places.double() * torch.tensor(voxel_size_mm, dtype=torch.float64, device=places.device)
    position = position - position.mean(0)
    position /= position.norm(dim=1).max().clamp(min=1e-12)
    basis = solid_harmonics(*position.T)
    basis = basis / basis.norm(dim=1, keepdim=True).clamp(min=1e-12)
    normal = (basis * count) @ basis.T
    normal.diagonal().add_(1e-9 * float(normal.diagonal().mean()))
    amounts = torch.linalg.solve(normal, (basis * count) @ field)
    return float((amounts @ basis).std())
