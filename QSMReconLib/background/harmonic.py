"""Solid harmonics: the smooth part of a background, and how much of it a local field could still hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._lazy import torch

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
    places = inside.nonzero()
    found = torch.zeros_like(field_ppm)
    if len(places) <= (DEGREE + 1) ** 2:
        return found
    size = torch.tensor([float(v) for v in voxel_size_mm], dtype=torch.float64, device=places.device)
    middle = places.double().mean(0) * size
    position = places * size - middle
    scale = position.norm(dim=1).max()
    step = max(1, len(places) // SAMPLES)
    near = (position[::step] / scale).T
    basis = torch.stack(list(solid_harmonics(*near)))
    length = basis.norm(dim=1).clamp(min=1e-12)
    basis /= length[:, None]
    count = torch.ones_like(near[0]) if weight is None else weight[inside][::step].double()
    normal = (basis * count) @ basis.T
    normal.diagonal().add_(1e-9 * float(normal.diagonal().mean()) + 1e-30)
    amounts = torch.linalg.solve(normal, (basis * count) @ field_ppm[inside][::step].double()) / length
    x, y, z = (position / scale).to(field_ppm.dtype).T
    values = torch.zeros_like(x)
    for amount, function in zip(amounts.tolist(), solid_harmonics(x, y, z), strict=True):
        values.add_(function, alpha=amount)
    found[inside] = values
    return found


def harmonic_residual(
    local_ppm: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], weight: torch.Tensor | None = None
) -> float:
    """The standard deviation, in ppm, of the smooth harmonic part of a local field (X, Y, Z) in `mask`.

    Fields of sources outside are harmonic inside, so this much of the background may be left; what lies outside but
    very near makes finer fields, which it does not see.
    """
    inside = mask > 0
    if int(inside.sum()) < 2:
        return 0.0
    return float(smooth_part(local_ppm, mask, voxel_size_mm, weight)[inside].std())
